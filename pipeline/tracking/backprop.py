"""The MLflow run of the 2-2-2 network: its params, its loss at each iteration, its files."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Metric

from pipeline.core import environment
from pipeline.core.files import read_csv, sha256
from pipeline.core.reports import BackpropReport, FlowRun
from pipeline.core.snapshot import at_one_moment
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component
from pipeline.tracking.runs import Published, fill, find_run, flow_tags, page, upload


@dataclass(frozen=True)
class Backprop:
    """A consistent snapshot of reports/backprop; `outcome` identifies it."""

    outcome: str
    report: BackpropReport
    history: Sequence[Mapping[str, float]]
    files: Mapping[str, bytes]


def read_backprop(workspace: Workspace) -> Backprop:
    """Read reports/backprop, before any request to a server; again if it changes meanwhile."""

    def read() -> Backprop:
        files = sorted(path for path in workspace.backprop_reports.glob("[!.]*") if path.is_file())
        return Backprop(
            sha256(workspace.backprop_summary),
            BackpropReport.read(workspace.backprop_summary),
            read_csv(workspace.backprop_history),
            {workspace.name(path): path.read_bytes() for path in files},
        )

    return at_one_moment(workspace, read)


def publish_backprop(client: MlflowClient, experiment: str, backprop: Backprop) -> Published:
    """Add to the run of this outcome whatever it lacks.

    The files are the same each time the stage runs: they contain no time, revision or flow run.
    MLflow therefore has one run per outcome, tagged with the flow run that last published it.
    """
    run = find_run(client, experiment, backprop.outcome, "backprop", round(time.time() * 1000))
    metrics = [
        Metric(name, row[name], run.info.start_time, int(row["iteration"]))
        for row in backprop.history
        for name in ("E1", "E2", "E_total")
    ]
    report, flow_run = backprop.report, environment.flow_run()
    tags = {
        "mlflow.source.name": "python -m pipeline backprop",
        "mlflow.note.content": "A 2-2-2 sigmoid network, trained by hand-derived gradients: the "
        f"loss changes from {report.first_loss:.6g} to {report.last_loss:.6g}.",
        **flow_tags(FlowRun(**flow_run) if flow_run else None),
    }
    changed = fill(client, run, report.params, metrics, tags)
    changed |= upload(client, run, backprop.files)
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED")
        changed = True
    return Published(Component.BACKPROP, page(run), changed)
