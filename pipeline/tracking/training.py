"""The MLflow run of a training: its params, metrics, tags and files."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Run

from pipeline import paths
from pipeline.files import read_csv, read_json
from pipeline.tracking.runs import fill, find_run, flow_tags, upload


def _seconds(moment: str) -> float:
    """An ISO 8601 date and time as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def find_training(client: MlflowClient, experiment: str, run_id: str, started: str) -> Run:
    """The one MLflow run of a training, begun at `started`, date and time as of ISO 8601."""
    return find_run(client, experiment, run_id, "train", round(_seconds(started) * 1000))


def publish_training(client: MlflowClient, experiment: str, *, training: bool) -> Run:
    """Give the run of the training in reports/ all that it lacks; `training`: it still goes on."""
    summary = read_json(paths.SUMMARY)
    run = find_training(client, experiment, summary["run_id"], summary["started"])
    evaluated, judged = _made_from(summary)

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
    if judged:
        tags["gate"] = "passed" if read_json(paths.GATE_REPORT)["passed"] else "refused"
        tags["mlflow.note.content"] = paths.GATE_TABLE.read_text()
    metrics = list(_metrics(summary, evaluated=evaluated))
    fill(client, run, summary["params"], metrics, tags)
    if run.inputs is None or not run.inputs.dataset_inputs:
        digest = summary["data_sha256"][:36]
        dataset = Dataset("mnist-train", digest, "local", "data/train.safetensors")
        client.log_inputs(run.info.run_id, [DatasetInput(dataset)])
    if not training:
        upload(client, run, _files(evaluated=evaluated, judged=judged))
    _set_status(client, run, summary, training=training)
    return run


def _made_from(summary: dict[str, Any]) -> tuple[bool, bool]:
    """Whether evaluation and verdict in reports/ are those of the weights that this run made."""
    if summary["weights_sha256"] is None or not paths.EXPORT_REPORT.exists():
        return False, False
    export = read_json(paths.EXPORT_REPORT)
    ours = export["weights_sha256"] == summary["weights_sha256"]
    return tuple(  # type: ignore[return-value]
        ours and path.exists() and read_json(path)["model_sha256"] == export["model_sha256"]
        for path in (paths.SUBJECT, paths.GATE_REPORT)
    )


def _metrics(summary: dict[str, Any], *, evaluated: bool) -> Iterator[Metric]:
    """Every number of the run, each with a time that depends on the files alone."""
    moment = _seconds(summary["started"])
    moments = {}
    history = read_csv(paths.HISTORY)
    for row in history:
        moment += row["seconds"]
        moments[row["epoch"]] = round(moment * 1000)
    system = [
        {**load, "epoch": row["epoch"]}
        for row, load in zip(history, read_csv(paths.SYSTEM), strict=False)
    ]
    curves = read_csv(paths.CURVES) if evaluated else []
    for row in [*history, *system, *curves]:
        for key, value in row.items():
            if key != "epoch":
                yield Metric(key, value, moments[row["epoch"]], int(row["epoch"]))
    if evaluated:
        for key, value in {**read_json(paths.METRICS), **read_json(paths.SPEED)}.items():
            if isinstance(value, int | float):
                yield Metric(f"evaluation/{key}", value, round(moment * 1000), len(history))


def _files(*, evaluated: bool, judged: bool) -> list[Path]:
    """The run's artifacts."""
    folders = [
        paths.PREPARE_REPORTS,
        paths.TRAIN_REPORTS,
        *([paths.EVALUATION] if evaluated else []),
    ]
    files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    files += [Path("params.yaml"), *([paths.EXPORT_REPORT] if evaluated else [])]
    files += [paths.GATE_REPORT, paths.GATE_TABLE] if judged else []
    return files


def _set_status(client: MlflowClient, run: Run, summary: dict[str, Any], *, training: bool) -> None:
    unfinished = "RUNNING" if training else "KILLED"
    status = "FINISHED" if summary["status"] == "finished" else unfinished
    if run.info.status == status:
        return
    if status == "RUNNING":
        client.update_run(run.info.run_id, status)
    else:
        ended = round((_seconds(summary["started"]) + summary["seconds"]) * 1000)
        client.set_terminated(run.info.run_id, status, ended)
