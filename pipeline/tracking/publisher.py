"""Brings a server up to date from the files: once, or again and again beside a training."""

import logging
import os
import select
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline import paths
from pipeline.environment import without_password
from pipeline.errors import first_line
from pipeline.tracking import Part, links
from pipeline.tracking.backprop import publish_backprop
from pipeline.tracking.registry import publish_release
from pipeline.tracking.training import publish_training

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mnist-cnn")
BACKPROP_EXPERIMENT = "back-propagation"
FOLLOW_INTERVAL = 2.0  # seconds between two looks at the files


def publish(parts: Collection[Part] = tuple(Part), *, training: bool = False) -> None:
    """Bring these parts of the server up to date; `training`: the one in the files still goes on.

    Raises MlflowException, or what the transport raises, when the server cannot be reached.
    """
    with _alone():
        client = MlflowClient()
        if Part.TRAINING in parts and paths.SUMMARY.exists():
            run = publish_training(client, _experiment(client, EXPERIMENT), training=training)
            links.note(Part.TRAINING, _path(run))
        if Part.RELEASE in parts and paths.RELEASED_MODEL.exists():
            model = publish_release(client, _experiment(client, EXPERIMENT))
            links.note(Part.RELEASE, f"models/{model.name}/versions/{model.version}")
        if Part.BACKPROP in parts and paths.BACKPROP_SUMMARY.exists():
            run = publish_backprop(client, _experiment(client, BACKPROP_EXPERIMENT))
            links.note(Part.BACKPROP, _path(run))


def wait() -> None:
    """Make ready to publish, which takes MLflow seconds, and return when standard input ends."""
    with _alone():
        MlflowClient()
    sys.stdin.read()


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
            publish([Part.TRAINING], training=True)
            pause, published = FOLLOW_INTERVAL, written
        except Exception:  # whatever it is, training goes on and a later call heals it
            pause = min(2 * pause, 60)
    try:
        publish([Part.TRAINING])
    except Exception as error:
        print(describe(error), file=sys.stderr)
        return False
    return True


def describe(error: Exception) -> str:
    """The failure of a server in one line."""
    return f"MLflow at {without_password(mlflow.get_tracking_uri())}: {first_line(error)[:300]}"


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only one here that talks to MLflow, and have it say nothing but warnings."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    paths.TRACKING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(paths.TRACKING_LOCK, timeout=60):
        yield


def _path(run: Run) -> str:
    return f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if mlflow.get_tracking_uri().startswith("sqlite:"):  # no server that would say where
        location = Path("mlartifacts").absolute().as_uri()
    tags = {"mlflow.experimentKind": "custom_model_development"}  # which view the UI opens
    return client.create_experiment(name, location, tags)
