"""The MLflow run of a training: its params, metrics, tags and files."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Run

from pipeline.tracking import Part
from pipeline.tracking.runs import Published, fill, find_run, flow_tags, page, upload
from pipeline.tracking.snapshot import Training


def _seconds(moment: str) -> float:
    """An ISO 8601 date and time as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def find_training(client: MlflowClient, experiment: str, run_id: str, started: str) -> Run:
    """The one MLflow run of a training, begun at `started`, date and time as of ISO 8601."""
    return find_run(client, experiment, run_id, "train", round(_seconds(started) * 1000))


def publish_training(
    client: MlflowClient, experiment: str, training: Training, *, unfinished: str
) -> Published:
    """Give the run of the training all that it lacks; `unfinished`: its status if it has no end."""
    summary = training.summary
    run = find_training(client, experiment, summary["run_id"], summary["started"])
    tags = {
        "mlflow.source.name": "python -m pipeline train",
        "mlflow.source.git.commit": summary["git_revision"],
        "data_sha256": summary["data_sha256"],
        **{f"code_sha256.{name}": digest for name, digest in summary["code_sha256"].items()},
        **{f"hardware.{name}": str(value) for name, value in summary["hardware"].items()},
        **{f"version.{name}": value for name, value in summary["versions"].items()},
        **{name: str(summary[name]) for name in ("device", "precision", "threads")},
        **flow_tags(summary.get("flow_run")),
    }
    if summary["weights_sha256"]:
        tags["weights_sha256"] = summary["weights_sha256"]
    if training.table is not None:
        tags["gate"] = "passed" if training.passed else "refused"
        tags["mlflow.note.content"] = training.table
    changed = fill(client, run, summary["params"], list(_metrics(training)), tags)
    if run.inputs is None or not run.inputs.dataset_inputs:
        digest = summary["data_sha256"][:36]
        dataset = Dataset("mnist-train", digest, "local", "data/train.safetensors")
        client.log_inputs(run.info.run_id, [DatasetInput(dataset)])
        changed = True
    if training.files:
        changed |= upload(client, run, training.files)
    status = "FINISHED" if summary["status"] == "finished" else unfinished
    if run.info.status != status:
        _set_status(client, run, summary, status)
        changed = True
    return Published(Part.TRAINING, page(run), changed)


def _metrics(training: Training) -> Iterator[Metric]:
    """Every number of the run, each with a time that depends on the files alone."""
    moment = _seconds(training.summary["started"])
    moments = {}
    for row in training.history:
        moment += row["seconds"]
        moments[row["epoch"]] = round(moment * 1000)
    system = [
        {**load, "epoch": row["epoch"]}
        for row, load in zip(training.history, training.system, strict=False)
    ]
    for row in [*training.history, *system, *training.curves]:
        for key, value in row.items():
            if key != "epoch":
                yield Metric(key, value, moments[row["epoch"]], int(row["epoch"]))
    for key, value in (training.evaluation or {}).items():
        if isinstance(value, int | float):
            yield Metric(f"evaluation/{key}", value, round(moment * 1000), len(training.history))


def _set_status(client: MlflowClient, run: Run, summary: Mapping[str, Any], status: str) -> None:
    if status == "RUNNING":
        client.update_run(run.info.run_id, status)
    else:
        ended = round((_seconds(summary["started"]) + summary["seconds"]) * 1000)
        client.set_terminated(run.info.run_id, status, ended)
