"""What all MLflow runs share: each is found by the id of what it shows, and then completed."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.core import environment, variables
from pipeline.core.reports import FlowRun
from pipeline.tracking import Component

T = TypeVar("T")

RUN_TAG = "pipeline.run_id"  # the id of what an MLflow run shows
FILES_TAG = "pipeline.files_sha256"  # digest of its artifacts, set once all are uploaded
MAX_METRICS = 1000  # in one request; the server's limit
EXPERIMENT_TAG = "dvc.experiment"  # name of the DVC experiment that produced what a run shows


class Published(NamedTuple):
    """A published component: the path of its page in MLflow, and whether anything was missing."""

    component: Component
    page: str
    changed: bool


def find_or_create(
    search: Callable[[], Sequence[T]], create: Callable[[], T], delete: Callable[[T], None]
) -> T:
    """The first item found, created if there is none.

    A retried request may have created duplicates, which are deleted.
    """
    found = search()
    if not found:
        create()
        found = search()
    first, *duplicates = found
    for duplicate in duplicates:
        delete(duplicate)
    return first


def find_run(client: MlflowClient, experiment: str, run_id: str, name: str, started: int) -> Run:
    """The only MLflow run with this id; `started`: when it began, in milliseconds since 1970."""
    query = f"tags.`{RUN_TAG}` = '{run_id}'"

    def search() -> list[Run]:  # the most complete first
        return sorted(client.search_runs([experiment], query), key=lambda run: -len(run.data.tags))

    def create() -> Run:
        user = variables.USER.get() or variables.USER.default
        tags = {RUN_TAG: run_id, "mlflow.user": user}
        if name_of_experiment := environment.experiment():
            tags[EXPERIMENT_TAG] = name_of_experiment
        return client.create_run(experiment, started, tags, f"{name}-{run_id[:8]}")

    return find_or_create(search, create, lambda run: client.delete_run(run.info.run_id))


def fill(
    client: MlflowClient,
    run: Run,
    params: Mapping[str, Any],
    metrics: Sequence[Metric],
    tags: Mapping[str, str],
) -> bool:
    """Add the params, metrics and tags that the run lacks; returns whether it lacked any."""
    run_id = run.info.run_id
    missing_tags = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
    missing_params = [Param(k, str(v)) for k, v in params.items() if k not in run.data.params]
    present = {
        (key, point.step)
        for key in {metric.key for metric in metrics} & run.data.metrics.keys()
        for point in client.get_metric_history(run_id, key)
    }
    missing = [metric for metric in metrics if (metric.key, metric.step) not in present]
    for first in range(0, len(missing), MAX_METRICS):
        client.log_batch(run_id, missing[first : first + MAX_METRICS])
    if missing_tags or missing_params:
        client.log_batch(run_id, params=missing_params, tags=missing_tags)
    return bool(missing or missing_tags or missing_params)


def flow_tags(flow_run: FlowRun | None) -> dict[str, str]:
    """The tags that link an MLflow run to the Prefect flow run that produced what it shows."""
    found = flow_run.model_dump() if flow_run else {}
    return {f"prefect.flow_run.{name}": value for name, value in found.items()}


def upload(client: MlflowClient, run: Run, files: Mapping[str, bytes]) -> bool:
    """Upload files, by path, as the run's artifacts; returns False if they were there already."""
    listing = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in files.items()
    )
    digest = hashlib.sha256(listing.encode()).hexdigest()
    if run.data.tags.get(FILES_TAG) == digest:
        return False
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(run.info.run_id, folder)
    client.set_tag(run.info.run_id, FILES_TAG, digest)
    return True


def page(run: Run) -> str:
    """The path of a run's page in MLflow."""
    return f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
