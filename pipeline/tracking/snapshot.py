"""What the files say of a training at one moment: read whole, before a server is asked.

A stage may write at any time, also a new training; what is published must be of one.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, read_json
from pipeline.core.workspace import Workspace

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


def read_training(workspace: Workspace, *, files: bool) -> Training:
    """The training in reports/. UserError if its files do not belong together, or are broken."""
    for _ in range(ATTEMPTS):
        before = read_json(workspace.training_report)
        missing = SUMMARY - before.keys() if isinstance(before, dict) else SUMMARY
        if missing:  # other code wrote it
            names = ", ".join(sorted(missing))
            raise UserError(f"{workspace.training_report} does not have {names}: `dvc repro` heals")
        training = _read(workspace, before, files=files)
        last = training.history[-1] if training.history else None
        if read_json(workspace.training_report) == before and last == before.get("final", last):
            return training
        time.sleep(PAUSE)
    raise UserError(
        f"{workspace.history} is not of the training in {workspace.training_report}: "
        "`dvc repro` heals"
    )


def _read(workspace: Workspace, summary: Mapping[str, Any], *, files: bool) -> Training:
    history = read_csv(workspace.history)
    evaluated, judged = _made_from(workspace, summary, history)
    return Training(
        summary=summary,
        history=history,
        system=read_csv(workspace.system_metrics),
        curves=read_csv(workspace.curves) if evaluated else [],
        evaluation=read_json(workspace.metrics) | read_json(workspace.speed) if evaluated else None,
        passed=bool(read_json(workspace.gate_report)["passed"]) if judged else None,
        table=workspace.gate_table.read_text(encoding="utf-8") if judged else None,
        files=dict(_files(workspace, summary, evaluated=evaluated, judged=judged)) if files else {},
    )


def _made_from(
    workspace: Workspace, summary: Mapping[str, Any], history: Sequence[Row]
) -> tuple[bool, bool]:
    """Whether evaluation and verdict in reports/ are whole, and of the weights of this run."""
    if summary["weights_sha256"] is None or not workspace.export_report.exists():
        return False, False
    export = read_json(workspace.export_report)
    ours = export["weights_sha256"] == summary["weights_sha256"]
    evaluated, judged = (
        ours
        and all(path.exists() for path in made)
        and read_json(made[0])["model_sha256"] == export["model_sha256"]
        for made in (
            [workspace.subject, workspace.metrics, workspace.speed, workspace.curves],
            [workspace.gate_report, workspace.gate_table],
        )
    )
    evaluated = evaluated and _losses(read_csv(workspace.curves)) == _losses(history)
    return evaluated, judged


def _losses(rows: Sequence[Row]) -> list[tuple[float, float]]:
    return [(row["epoch"], row["training_loss"]) for row in rows]


def _files(
    workspace: Workspace, summary: Mapping[str, Any], *, evaluated: bool, judged: bool
) -> Iterator[tuple[str, bytes]]:
    """The run's artifacts; params.yaml may have changed since, so the summary's are taken."""
    folders = [
        workspace.prepare_reports,
        workspace.train_reports,
        *([workspace.evaluation_reports] if evaluated else []),
    ]
    chosen = [path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_file()]
    chosen += [workspace.export_report] if evaluated else []
    chosen += [workspace.gate_report, workspace.gate_table] if judged else []
    for path in chosen:
        yield workspace.name(path), path.read_bytes()
    used, yaml = io.BytesIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump({"train": dict(summary["params"])}, used)
    yield "params.yaml", used.getvalue()
