"""What the files say of a training at one moment: read whole, before a server is asked.

A stage may write at any time, also a new training; what is published must be of one.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, read_json

ATTEMPTS, PAUSE = 50, 0.1  # seconds; writing all files of an epoch takes less

Row = Mapping[str, float]

SUMMARY = {  # what is published of reports/train/summary.json
    *("run_id", "status", "started", "seconds", "git_revision", "params", "weights_sha256"),
    *("data_sha256", "code_sha256", "device", "precision", "threads", "hardware", "versions"),
}


@dataclass(frozen=True)
class Training:
    """A training, and what later stages made of its weights; its files by path, if wanted."""

    summary: Mapping[str, Any]
    history: Sequence[Row]
    system: Sequence[Row]
    curves: Sequence[Row]
    evaluation: Mapping[str, Any] | None  # metrics and speed
    passed: bool | None  # the gate's verdict
    table: str | None  # and its criteria, in Markdown
    files: Mapping[str, bytes]


def read_training(*, files: bool) -> Training:
    """The training in reports/. UserError if its files do not belong together, or are broken."""
    for _ in range(ATTEMPTS):
        before = read_json(paths.SUMMARY)
        missing = SUMMARY - before.keys() if isinstance(before, dict) else SUMMARY
        if missing:  # other code wrote it
            names = ", ".join(sorted(missing))
            raise UserError(f"{paths.SUMMARY} does not have {names}: `dvc repro` heals")
        training = _read(before, files=files)
        last = training.history[-1] if training.history else None
        if read_json(paths.SUMMARY) == before and last == before.get("final", last):
            return training
        time.sleep(PAUSE)
    raise UserError(f"{paths.HISTORY} is not of the training in {paths.SUMMARY}: `dvc repro` heals")


def _read(summary: Mapping[str, Any], *, files: bool) -> Training:
    history = read_csv(paths.HISTORY)
    evaluated, judged = _made_from(summary, history)
    return Training(
        summary=summary,
        history=history,
        system=read_csv(paths.SYSTEM),
        curves=read_csv(paths.CURVES) if evaluated else [],
        evaluation=read_json(paths.METRICS) | read_json(paths.SPEED) if evaluated else None,
        passed=bool(read_json(paths.GATE_REPORT)["passed"]) if judged else None,
        table=paths.GATE_TABLE.read_text(encoding="utf-8") if judged else None,
        files=dict(_files(summary, evaluated=evaluated, judged=judged)) if files else {},
    )


def _made_from(summary: Mapping[str, Any], history: Sequence[Row]) -> tuple[bool, bool]:
    """Whether evaluation and verdict in reports/ are whole, and of the weights of this run."""
    if summary["weights_sha256"] is None or not paths.EXPORT_REPORT.exists():
        return False, False
    export = read_json(paths.EXPORT_REPORT)
    ours = export["weights_sha256"] == summary["weights_sha256"]
    evaluated, judged = (
        ours
        and all(path.exists() for path in made)
        and read_json(made[0])["model_sha256"] == export["model_sha256"]
        for made in (
            [paths.SUBJECT, paths.METRICS, paths.SPEED, paths.CURVES],
            [paths.GATE_REPORT, paths.GATE_TABLE],
        )
    )
    evaluated = evaluated and _losses(read_csv(paths.CURVES)) == _losses(history)
    return evaluated, judged


def _losses(rows: Sequence[Row]) -> list[tuple[float, float]]:
    return [(row["epoch"], row["training_loss"]) for row in rows]


def _files(
    summary: Mapping[str, Any], *, evaluated: bool, judged: bool
) -> Iterator[tuple[str, bytes]]:
    """The run's artifacts; params.yaml may have changed since, so the summary's are taken."""
    folders = [
        paths.PREPARE_REPORTS,
        paths.TRAIN_REPORTS,
        *([paths.EVALUATION] if evaluated else []),
    ]
    chosen = [path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_file()]
    chosen += [paths.EXPORT_REPORT] if evaluated else []
    chosen += [paths.GATE_REPORT, paths.GATE_TABLE] if judged else []
    for path in chosen:
        yield path.as_posix(), path.read_bytes()
    used, yaml = io.BytesIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump({"train": dict(summary["params"])}, used)
    yield "params.yaml", used.getvalue()
