"""MLflow, as a projection of files: what a server shows is read from reports/ and models/.

`publish` compares and adds what is missing, so it may run at any time, any number of times, against
any server, one that was away during training too. Nothing else in the project knows MLflow.
"""

import hashlib
import logging
import os
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

for _name, _value in {
    "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; the files are safe, so better soon than never
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _value)

import filelock
import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from pipeline import paths
from pipeline.files import read_csv, read_json, sha256

T = TypeVar("T")

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mnist-cnn")
MODEL_NAME = "mnist-cnn"
ALIAS = "champion"
RUN_TAG = "pipeline.run_id"  # an MLflow run is found by the training that it shows
FILES_TAG = "pipeline.files_sha256"  # what its artifacts were made from, set when all are there
MODEL_TAG = "sha256"  # a model version is found by the file that it holds
FOLLOW_INTERVAL = 2.0  # seconds between two looks at the files


def publish(*, training: bool = False, release: bool = True) -> None:
    """Bring the server up to date. `training` says that the run in the files still goes on;
    without `release`, what lies in models/ is left alone.

    Raises MlflowException, or what the transport raises, when the server cannot be reached.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    paths.TRACKING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(paths.TRACKING_LOCK, timeout=60):
        client = MlflowClient()
        experiment = _experiment(client)
        if paths.SUMMARY.exists():
            _publish_run(client, experiment, training=training)
        if paths.RELEASED_MODEL.exists() and release:
            _publish_release(client, experiment)


def training_goes_on() -> bool:
    """Whether a training runs in this folder now."""
    if not paths.TRAINING_LOCK.exists():
        return False
    try:
        with filelock.FileLock(paths.TRAINING_LOCK, timeout=0):
            return False
    except filelock.Timeout:
        return True


def follow() -> bool:
    """Publish until standard input ends, then once more; True if that last time went well.

    A server that fails is tried again, ever more rarely, up to once a minute.
    """
    os.nice(10)  # training comes first
    pause, published = FOLLOW_INTERVAL, 0
    while not select.select([sys.stdin], [], [], pause)[0]:
        written = paths.SUMMARY.stat().st_mtime_ns if paths.SUMMARY.exists() else 0
        if written == published:
            continue
        try:
            publish(training=True, release=False)
            pause, published = FOLLOW_INTERVAL, written
        except Exception:  # whatever it is, training goes on and a later call heals it
            pause = min(2 * pause, 60)
    try:
        publish(release=False)
    except Exception as error:
        print(describe(error), file=sys.stderr)
        return False
    return True


def describe(error: Exception) -> str:
    """The failure of a server in one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"MLflow at {mlflow.get_tracking_uri()}: {reason[:300]}"


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if mlflow.get_tracking_uri().startswith("sqlite:"):  # no server that would say where
        location = Path("mlartifacts").absolute().as_uri()
    tags = {"mlflow.experimentKind": "custom_model_development"}  # which view the UI opens
    return client.create_experiment(EXPERIMENT, location, tags)


def _only(
    search: Callable[[], Sequence[T]], create: Callable[[], T], delete: Callable[[T], None]
) -> T:
    """The first that is found, made if there is none.

    A request whose answer was lost has been sent again, so there may be more: they are deleted.
    """
    found = search()
    if not found:
        create()
        found = search()
    first, *doubles = found
    for double in doubles:
        delete(double)
    return first


def _run(client: MlflowClient, experiment: str, training_id: str, started: str) -> Run:
    """The one MLflow run of this training."""
    query = f"tags.`{RUN_TAG}` = '{training_id}'"

    def search() -> list[Run]:  # the fullest first
        return sorted(client.search_runs([experiment], query), key=lambda run: -len(run.data.tags))

    def create() -> Run:
        return client.create_run(
            experiment,
            start_time=round(_seconds(started) * 1000),
            tags={RUN_TAG: training_id, "mlflow.user": os.environ.get("USER", "pipeline")},
            run_name=f"train-{training_id[:8]}",
        )

    return _only(search, create, lambda run: client.delete_run(run.info.run_id))


def _seconds(moment: str) -> float:
    """An ISO 8601 date and time as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def _publish_run(client: MlflowClient, experiment: str, *, training: bool) -> None:
    summary = read_json(paths.SUMMARY)
    run = _run(client, experiment, summary["run_id"], summary["started"])
    run_id = run.info.run_id
    evaluated, judged = _made_from(summary)

    tags = {
        "mlflow.source.name": "python -m pipeline train",
        "mlflow.source.git.commit": summary["git_revision"],
        "data_sha256": summary["data_sha256"],
        **{f"code_sha256.{name}": digest for name, digest in summary["code_sha256"].items()},
        **{f"hardware.{name}": str(value) for name, value in summary["hardware"].items()},
        **{f"version.{name}": value for name, value in summary["versions"].items()},
        **{name: str(summary[name]) for name in ("device", "precision", "threads")},
    }
    if summary["weights_sha256"]:
        tags["weights_sha256"] = summary["weights_sha256"]
    if judged:
        tags["gate"] = "passed" if read_json(paths.GATE_REPORT)["passed"] else "refused"
        tags["mlflow.note.content"] = paths.GATE_TABLE.read_text()
    missing_tags = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
    params = {key: str(value) for key, value in summary["params"].items()}
    missing_params = [Param(k, v) for k, v in params.items() if k not in run.data.params]
    metrics = list(_metrics(summary, evaluated=evaluated))
    there = {
        (key, point.step)
        for key in {metric.key for metric in metrics} & run.data.metrics.keys()
        for point in client.get_metric_history(run_id, key)
    }
    missing_metrics = [metric for metric in metrics if (metric.key, metric.step) not in there]
    if missing_tags or missing_params or missing_metrics:
        client.log_batch(run_id, missing_metrics, missing_params, missing_tags)
    if run.inputs is None or not run.inputs.dataset_inputs:
        digest = summary["data_sha256"][:36]
        dataset = Dataset("mnist-train", digest, "local", "data/train.safetensors")
        client.log_inputs(run_id, [DatasetInput(dataset)])
    if not training:
        _publish_files(client, run, evaluated=evaluated, judged=judged)
    _set_status(client, run, summary, training=training)


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


def _publish_files(client: MlflowClient, run: Run, *, evaluated: bool, judged: bool) -> None:
    folders = [
        paths.PREPARE_REPORTS,
        paths.TRAIN_REPORTS,
        *([paths.EVALUATION] if evaluated else []),
    ]
    files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    files += [Path("params.yaml"), *([paths.EXPORT_REPORT] if evaluated else [])]
    files += [paths.GATE_REPORT, paths.GATE_TABLE] if judged else []
    listing = "".join(f"{sha256(path)}  {path.as_posix()}\n" for path in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    if run.data.tags.get(FILES_TAG) == digest:
        return
    for path in files:
        parent = path.parent.as_posix()
        client.log_artifact(run.info.run_id, str(path), None if parent == "." else parent)
    client.set_tag(run.info.run_id, FILES_TAG, digest)


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


def _publish_release(client: MlflowClient, experiment: str) -> None:
    """Register the model in models/, unless it is, and let the alias point to it."""
    digest = sha256(paths.RELEASED_MODEL)
    try:
        client.create_registered_model(MODEL_NAME, description="MNIST digits, 19,210 parameters")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{MODEL_NAME}' AND tags.{MODEL_TAG} = '{digest}'"

    def create() -> ModelVersion:
        model = _logged_model(client, experiment, digest)
        return client.create_model_version(
            MODEL_NAME,
            model.model_uri,
            model.source_run_id,
            tags={MODEL_TAG: digest},
            description=paths.MODEL_CARD.read_text().split("---\n", 2)[-1],
            model_id=model.model_id,
        )

    version = _only(
        lambda: client.search_model_versions(query, order_by=["version_number ASC"]),
        create,
        lambda double: client.delete_model_version(MODEL_NAME, double.version),
    )
    if client.get_registered_model(MODEL_NAME).aliases.get(ALIAS) != version.version:
        client.set_registered_model_alias(MODEL_NAME, ALIAS, version.version)


def _logged_model(client: MlflowClient, experiment: str, digest: str) -> LoggedModel:
    """The server's one copy of the released model, under the run that trained it."""
    metadata = read_json(paths.PROVENANCE)["predicate"]["runDetails"]["metadata"]
    run = _run(client, experiment, metadata["invocationId"], metadata["startedOn"])
    run_id = run.info.run_id
    if not run.info.end_time:  # known by its release alone, so it is not known when it ended
        client.set_terminated(run_id, "FINISHED", run.info.start_time)
    model = _only(
        lambda: client.search_logged_models([experiment], f"tags.{MODEL_TAG} = '{digest}'"),
        lambda: client.create_logged_model(experiment, "model", run_id, {MODEL_TAG: digest}),
        lambda double: client.delete_logged_model(double.model_id),
    )
    if run.outputs is None or model.model_id not in {m.model_id for m in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            _save_model(folder, Model(run_id=run_id, model_id=model.model_id))
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model


def _save_model(folder: Path, model: Model) -> None:
    """Write the released model to `folder` in MLflow's form, with signature and example."""
    example = np.zeros((1, 28, 28), np.uint8)
    example[0, 5:23, 13:16] = 255  # a plain stroke: a one
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28), "images")]),
        outputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, 10), "logits"),
                TensorSpec(np.dtype(np.float32), (-1, 10), "probabilities"),
            ]
        ),
    )
    mlflow.onnx.save_model(
        onnx.load(paths.RELEASED_MODEL),
        folder,
        mlflow_model=model,
        signature=signature,
        input_example=example,
        pip_requirements=[f"onnx=={onnx.__version__}", "onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
