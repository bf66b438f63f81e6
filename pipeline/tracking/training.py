"""The MLflow run of a training: its params, metrics, tags and files."""

from collections.abc import Iterator
from datetime import datetime

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Run

from pipeline.core.reports import TrainingReport
from pipeline.core.snapshot import Evaluation, TrainingSnapshot
from pipeline.tracking import Component
from pipeline.tracking.runs import Published, fill, find_run, flow_tags, page, upload
from pipeline.tracking.snapshot import TrainingRun


def _seconds(moment: str) -> float:
    """An ISO 8601 date and time as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def find_training(client: MlflowClient, experiment: str, run_id: str, started: str) -> Run:
    """The only MLflow run of a training; `started`: when it began, an ISO 8601 date and time."""
    return find_run(client, experiment, run_id, "train", round(_seconds(started) * 1000))


def publish_training(
    client: MlflowClient, experiment: str, training: TrainingRun, data_set: str, *, unfinished: str
) -> Published:
    """Add to the training's run whatever it lacks; `unfinished`: its status until it finishes."""
    reports, report = training.reports, training.reports.training.report
    run = find_training(client, experiment, report.run_id, report.started)
    tags = {
        "mlflow.source.name": "python -m pipeline train",
        "mlflow.source.git.commit": report.git_revision,
        "data_sha256": report.data_sha256,
        **{f"code_sha256.{name}": digest for name, digest in report.code_sha256.items()},
        **{f"hardware.{name}": str(value) for name, value in report.hardware},
        **{f"version.{name}": value for name, value in report.versions.items()},
        "device": report.device,
        "precision": report.precision,
        "threads": str(report.threads),
        **flow_tags(report.flow_run),
    }
    if report.feedback_sha256:
        tags["feedback_sha256"] = report.feedback_sha256
    if report.weights_sha256:
        tags["weights_sha256"] = report.weights_sha256
    if reports.gate:
        tags["gate"] = "passed" if reports.gate.report.passed else "refused"
        tags["mlflow.note.content"] = reports.gate.table
    changed = fill(client, run, report.params, list(_metrics(reports)), tags)
    if run.inputs is None or not run.inputs.dataset_inputs:
        name, digest = f"{data_set.lower()}-train", report.data_sha256[:36]
        dataset = Dataset(name, digest, "local", "data/train.safetensors")
        client.log_inputs(run.info.run_id, [DatasetInput(dataset)])
        changed = True
    if training.files:
        changed |= upload(client, run, training.files)
    status = "FINISHED" if report.status == "finished" else unfinished
    if run.info.status != status:
        _set_status(client, run, report, status)
        changed = True
    return Published(Component.TRAINING, page(run), changed)


def _metrics(reports: TrainingSnapshot) -> Iterator[Metric]:
    """All metrics of the run. Their timestamps derive from the files alone."""
    training, evaluation = reports.training, reports.evaluation
    moment = _seconds(training.report.started)
    moments = {}
    for row in training.history:
        moment += row["seconds"]
        moments[row["epoch"]] = round(moment * 1000)
    system = [
        {**load, "epoch": row["epoch"]}
        for row, load in zip(training.history, training.system, strict=False)
    ]
    for row in [*training.history, *system, *(evaluation.curves if evaluation else [])]:
        for key, value in row.items():
            if key != "epoch":
                yield Metric(key, value, moments[row["epoch"]], int(row["epoch"]))
    for key, value in _measured(evaluation) if evaluation else ():
        yield Metric(f"evaluation/{key}", value, round(moment * 1000), len(training.history))


def _measured(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """The numbers of an evaluation, by name."""
    yield from evaluation.metrics
    yield from evaluation.speed
    if evaluation.live.quality is not None:
        yield from ((f"live/{name}", figure) for name, figure in evaluation.live.quality)
    for key, value in evaluation.behaviour:
        if isinstance(value, dict):
            yield from ((f"{key}/{name}", number) for name, number in value.items())
        elif isinstance(value, float):
            yield key, value


def _set_status(client: MlflowClient, run: Run, report: TrainingReport, status: str) -> None:
    if status == "RUNNING":
        client.update_run(run.info.run_id, status)
    else:
        ended = round((_seconds(report.started) + report.seconds) * 1000)
        client.set_terminated(run.info.run_id, status, ended)
