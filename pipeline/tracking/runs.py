"""What all MLflow runs here have in common: they are found by what they show, and filled up."""

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

RUN_TAG = "pipeline.run_id"  # an MLflow run is found by the id of what it shows
FILES_TAG = "pipeline.files_sha256"  # what its artifacts were made from, set when all are there
MOST_METRICS = 1000  # in one request, as the server has it
EXPERIMENT_TAG = "dvc.experiment"  # the name of the experiment that made what a run shows


class Published(NamedTuple):
    """Where MLflow shows a component: the path of its page, and whether anything was missing."""

    component: Component
    page: str
    changed: bool


def find_or_create(
    search: Callable[[], Sequence[T]], create: Callable[[], T], delete: Callable[[T], None]
) -> T:
    """The first that is found, created if there is none.

    A request whose answer was lost has been sent again: duplicates are deleted.
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
    """The one MLflow run of what has this id, begun at `started`, milliseconds since 1970."""
    query = f"tags.`{RUN_TAG}` = '{run_id}'"

    def search() -> list[Run]:  # the fullest first
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
    """Give the run what it lacks of these; whether it lacked any."""
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
    return bool(missing or missing_tags or missing_params)


def flow_tags(flow_run: FlowRun | None) -> dict[str, str]:
    """The tags that lead from an MLflow run to the flow run that made what it shows."""
    found = flow_run.model_dump() if flow_run else {}
    return {f"prefect.flow_run.{name}": value for name, value in found.items()}


def upload(client: MlflowClient, run: Run, files: Mapping[str, bytes]) -> bool:
    """Make these files, by path, its artifacts, unless they are; whether they were not."""
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
    """The path of MLflow's page of a run."""
    return f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
