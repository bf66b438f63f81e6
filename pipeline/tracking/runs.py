"""What all MLflow runs here have in common: they are found by what they show, and filled up."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.files import sha256

T = TypeVar("T")

RUN_TAG = "pipeline.run_id"  # an MLflow run is found by the id of what it shows
FILES_TAG = "pipeline.files_sha256"  # what its artifacts were made from, set when all are there
MOST_METRICS = 1000  # in one request, as the server has it


def only(
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


def find_run(client: MlflowClient, experiment: str, run_id: str, name: str, started: int) -> Run:
    """The one MLflow run of what has this id, begun at `started`, milliseconds since 1970."""
    query = f"tags.`{RUN_TAG}` = '{run_id}'"

    def search() -> list[Run]:  # the fullest first
        return sorted(client.search_runs([experiment], query), key=lambda run: -len(run.data.tags))

    def create() -> Run:
        user = os.environ.get("USER", "pipeline")
        tags = {RUN_TAG: run_id, "mlflow.user": user}
        return client.create_run(experiment, started, tags, f"{name}-{run_id[:8]}")

    return only(search, create, lambda run: client.delete_run(run.info.run_id))


def fill(
    client: MlflowClient,
    run: Run,
    params: Mapping[str, Any],
    metrics: Sequence[Metric],
    tags: Mapping[str, str],
) -> None:
    """Give the run what it lacks of these."""
    run_id = run.info.run_id
    missing_tags = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
    missing_params = [Param(k, str(v)) for k, v in params.items() if k not in run.data.params]
    there = {
        (key, point.step)
        for key in {metric.key for metric in metrics} & run.data.metrics.keys()
        for point in client.get_metric_history(run_id, key)
    }
    missing = [metric for metric in metrics if (metric.key, metric.step) not in there]
    for first in range(0, len(missing), MOST_METRICS):
        client.log_batch(run_id, missing[first : first + MOST_METRICS])
    if missing_tags or missing_params:
        client.log_batch(run_id, params=missing_params, tags=missing_tags)


def flow_tags(flow_run: Mapping[str, str] | None) -> dict[str, str]:
    """The tags that lead from an MLflow run to the flow run that made what it shows."""
    return {f"prefect.flow_run.{name}": value for name, value in (flow_run or {}).items()}


def upload(client: MlflowClient, run: Run, files: Sequence[Path]) -> None:
    """Make these files its artifacts, under their paths, unless they are."""
    listing = "".join(f"{sha256(path)}  {path.as_posix()}\n" for path in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    if run.data.tags.get(FILES_TAG) == digest:
        return
    for path in files:
        parent = path.parent.as_posix()
        client.log_artifact(run.info.run_id, str(path), None if parent == "." else parent)
    client.set_tag(run.info.run_id, FILES_TAG, digest)
