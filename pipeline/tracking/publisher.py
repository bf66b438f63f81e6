"""Brings a server up to date from the files: once, or again and again beside a training."""

import logging
import os
import select
import sys
from pathlib import Path

import filelock
import mlflow
from mlflow import MlflowClient

from pipeline import paths
from pipeline.tracking.registry import publish_release
from pipeline.tracking.runs import publish_run

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mnist-cnn")
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
            publish_run(client, experiment, training=training)
        if paths.RELEASED_MODEL.exists() and release:
            publish_release(client, experiment)


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
