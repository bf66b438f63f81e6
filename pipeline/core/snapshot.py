"""A consistent snapshot of the reports in a workspace.

A stage may write reports while they are read, even for another training. The gate, the release and
MLflow must each see reports on a single model, so they read everything they require here, once,
before they start. (The gate reads what it judges with `core.gate_input`.)
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.collect_report import LiveReport
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, read_text, sha256
from pipeline.core.reports import (
    Behaviour,
    CalibrationReport,
    ExportReport,
    GateReport,
    Metrics,
    Speed,
    Subject,
    TrainingReport,
)
from pipeline.core.workspace import Workspace

ATTEMPTS, PAUSE = 50, 0.1  # PAUSE in seconds; writing all files of an epoch takes less in total
Rows = Sequence[Mapping[str, float]]
T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """A training, finished or not."""

    report: TrainingReport
    history: Rows  # a row per epoch
    system: Rows  # the machine's load, a row per epoch


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of an exported model on the test set."""

    subject: Subject
    metrics: Metrics
    behaviour: Behaviour
    live: LiveReport
    speed: Speed
    curves: Rows  # a row per epoch
    classes: Sequence[Mapping[str, Any]]  # a row per class: label, precision, recall, f1, images


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on an exported model."""

    report: GateReport
    table: str  # Markdown


@dataclass(frozen=True)
class Snapshot:
    """All reports on one model, from training to gate."""

    training: Training
    calibration: CalibrationReport
    export: ExportReport
    evaluation: Evaluation
    gate: Verdict


@dataclass(frozen=True)
class TrainingSnapshot:
    """A training, and the reports that later stages have written on its weights so far."""

    training: Training
    export: ExportReport | None
    evaluation: Evaluation | None
    gate: Verdict | None


class _UnfinishedWriteError(UserError):
    """Files do not belong together, probably because a stage is writing."""


def read_snapshot(workspace: Workspace) -> Snapshot:
    """Read all reports. UserError if one is missing, broken or on a different model."""

    def read() -> Snapshot:
        training = _training(workspace)
        export = _export(workspace, training)
        evaluation = _evaluation(workspace, training, export)
        calibration = _calibration(workspace, export)
        return Snapshot(training, calibration, export, evaluation, _verdict(workspace, export))

    return at_one_moment(workspace, read)


def read_training(workspace: Workspace) -> TrainingSnapshot:
    """Read the training and the reports on its weights. UserError if the training is not readable.

    Call it inside `at_one_moment`.
    """
    training = _training(workspace)
    export = _optional(lambda: _export(workspace, training))
    if export is None:
        return TrainingSnapshot(training, None, None, None)
    evaluation = _optional(lambda: _evaluation(workspace, training, export))
    return TrainingSnapshot(
        training, export, evaluation, _optional(lambda: _verdict(workspace, export))
    )


def at_one_moment(workspace: Workspace, read: Callable[[], T]) -> T:
    """The result of `read`, which is retried while a stage is writing. UserError after ATTEMPTS."""
    for attempts_left in reversed(range(ATTEMPTS)):
        before = _state(workspace)
        try:
            found = read()
            if _state(workspace) == before:
                return found
        except UserError as error:
            writing = isinstance(error, _UnfinishedWriteError) or _state(workspace) != before
            if not (writing and attempts_left):
                raise
        time.sleep(PAUSE)
    raise UserError(
        f"{workspace.root / 'reports'} keeps changing: try again when no stage is writing there"
    )


def _training(workspace: Workspace) -> Training:
    report = TrainingReport.read(workspace.training_report)
    history = read_csv(workspace.history, columns=["epoch", "training_loss", "seconds"])
    if (history[-1] if history else None) != report.final:
        raise _UnfinishedWriteError(
            f"{workspace.history} does not match the training in {workspace.training_report}: "
            "run `dvc repro`"
        )
    return Training(report, history, read_csv(workspace.system_metrics))


def _export(workspace: Workspace, training: Training) -> ExportReport:
    export = ExportReport.read(workspace.export_report)
    if export.weights_sha256 != training.report.weights_sha256:
        raise _mismatch(workspace.export_report, workspace.training_report, "weights")
    return export


def _calibration(workspace: Workspace, export: ExportReport) -> CalibrationReport:
    report = CalibrationReport.read(workspace.calibration_report)
    weights = export.weights_sha256, export.detector_sha256
    if (report.weights_sha256, report.detector_sha256) != weights:
        raise _mismatch(workspace.calibration_report, workspace.export_report, "weights")
    return report


def _evaluation(workspace: Workspace, training: Training, export: ExportReport) -> Evaluation:
    subject, behaviour = Subject.read(workspace.subject), Behaviour.read(workspace.behaviour)
    live = LiveReport.read(workspace.live_report)
    for path, measured in (
        (workspace.subject, subject.model_sha256),
        (workspace.behaviour, behaviour.model_sha256),
        (workspace.live_report, live.model_sha256),
    ):
        if measured != export.model_sha256:
            raise _mismatch(path, workspace.export_report, "models")
    curves = read_csv(workspace.curves)
    if _losses(curves) != _losses(training.history):
        raise _mismatch(workspace.curves, workspace.history, "trainings")
    metrics, speed = Metrics.read(workspace.metrics), Speed.read(workspace.speed)
    columns = ["label", "precision", "recall", "f1", "images"]
    classes = read_csv(workspace.per_class, texts=["label"], columns=columns)
    return Evaluation(subject, metrics, behaviour, live, speed, curves, classes)


def _verdict(workspace: Workspace, export: ExportReport) -> Verdict:
    report = GateReport.read(workspace.gate_report)
    if report.model_sha256 != export.model_sha256:
        raise _mismatch(workspace.gate_report, workspace.export_report, "models")
    if changed := report_digests(workspace).items() ^ report.reports_sha256.items():
        path = workspace.root / min(changed)[0]
        raise UserError(f"{path} has changed since the gate judged it: run `dvc repro`")
    return Verdict(report, read_text(workspace.gate_table))


def report_digests(workspace: Workspace) -> dict[str, str]:
    """The SHA-256 of each existing report on the exported model, by path."""
    return {workspace.name(path): sha256(path) for path in _judged(workspace) if path.is_file()}


def _judged(workspace: Workspace) -> list[Path]:
    return [
        *(workspace.export_report, workspace.subject, workspace.metrics, workspace.behaviour),
        *(workspace.live_report, workspace.speed, workspace.per_class),
    ]


def _mismatch(path: Path, other: Path, subjects: str) -> UserError:
    return UserError(f"{path} and {other} describe different {subjects}: run `dvc repro`")


def _losses(rows: Rows) -> list[tuple[float | None, float | None]]:
    return [(row.get("epoch"), row.get("training_loss")) for row in rows]


def _optional(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except UserError:
        return None


def _state(workspace: Workspace) -> list[tuple[Path, int, int]]:
    """The identity of each report file: every write creates a new file."""
    paths = [
        *(workspace.backprop_summary, workspace.backprop_history, workspace.training_report),
        *(workspace.history, workspace.system_metrics),
        workspace.calibration_report,
        *(*_judged(workspace), workspace.curves, workspace.gate_report, workspace.gate_table),
    ]
    found = []
    for path in paths:
        with suppress(OSError):
            state = path.stat()
            found.append((path, state.st_ino, state.st_mtime_ns))
    return found
