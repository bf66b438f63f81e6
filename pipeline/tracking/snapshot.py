"""What MLflow shows of a training: a consistent snapshot of its reports and files, in memory.

Requests to a server take seconds, during which the next training may start, so the files are read
first.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML

from pipeline.core import snapshot
from pipeline.core.snapshot import TrainingSnapshot
from pipeline.core.workspace import Workspace


@dataclass(frozen=True)
class TrainingRun:
    """The reports on a training, and the files to upload, by path relative to the workspace."""

    reports: TrainingSnapshot
    files: Mapping[str, bytes]


def read_training_run(workspace: Workspace, *, files: bool) -> TrainingRun:
    """The training in reports/. UserError if its files do not belong together or are broken."""

    def read() -> TrainingRun:
        reports = snapshot.read_training(workspace)
        return TrainingRun(reports, dict(_files(workspace, reports)) if files else {})

    return snapshot.at_one_moment(workspace, read)


def _files(workspace: Workspace, reports: TrainingSnapshot) -> Iterator[tuple[str, bytes]]:
    """The run's artifacts; params are those in the report, since params.yaml may have changed."""
    evaluated, judged = reports.evaluation is not None, reports.gate is not None
    folders = [
        workspace.prepare_reports,
        workspace.train_reports,
        *([workspace.detect_reports, workspace.evaluation_reports] if evaluated else []),
    ]
    chosen = [path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_file()]
    chosen += [workspace.calibration_report, workspace.export_report] if evaluated else []
    chosen += [workspace.gate_report, workspace.gate_table] if judged else []
    for path in chosen:
        yield workspace.name(path), path.read_bytes()
    used, yaml = io.BytesIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump({"train": reports.training.report.params}, used)
    yield "params.yaml", used.getvalue()
