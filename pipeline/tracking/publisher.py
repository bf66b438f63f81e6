"""Brings a server up to date from the files: once, or again and again beside a training."""

import os
import select
import sys
from collections.abc import Collection

import filelock
import mlflow
import requests
from mlflow import MlflowClient

from pipeline.core.environment import experiment as in_experiment
from pipeline.core.environment import without_password
from pipeline.core.errors import UserError, first_line
from pipeline.core.workspace import Workspace
from pipeline.tracking import Part, links
from pipeline.tracking.backprop import publish_backprop, read_backprop
from pipeline.tracking.registry import publish_release, read_release
from pipeline.tracking.runs import Published
from pipeline.tracking.snapshot import read_training
from pipeline.tracking.store import alone, experiment_id
from pipeline.tracking.training import publish_training

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mnist-cnn")
BACKPROP_EXPERIMENT = "back-propagation"
FOLLOW_INTERVAL = 2.0  # seconds between two looks at the files


def publish(
    workspace: Workspace, parts: Collection[Part] = tuple(Part), *, training: bool = False
) -> list[Published]:
    """Bring these parts of the server up to date; `training`: the one in the files still goes on.

    Gives what has come of each part that is here. An experiment of DVC registers no release.
    Raises MlflowException, or what the transport raises, when the server cannot be reached.
    """
    done = []

    def add(published: Published) -> None:
        links.note(workspace, published.part, published.page)
        done.append(published)

    with alone(workspace):
        client = MlflowClient()
        if Part.TRAINING in parts and workspace.training_report.exists():
            read = read_training(workspace, files=not training)
            experiment, end = experiment_id(client, EXPERIMENT), "RUNNING" if training else "KILLED"
            add(publish_training(client, experiment, read, unfinished=end))
        if Part.RELEASE in parts and workspace.released_model.exists() and not in_experiment():
            release = read_release(workspace)
            add(publish_release(workspace, client, experiment_id(client, EXPERIMENT), release))
        if Part.BACKPROP in parts and workspace.backprop_summary.exists():
            outcome = read_backprop(workspace)
            add(publish_backprop(client, experiment_id(client, BACKPROP_EXPERIMENT), outcome))
    return done


def wait(workspace: Workspace) -> None:
    """Make ready to publish, which takes MLflow seconds, and return when standard input ends."""
    with alone(workspace):
        MlflowClient()
    sys.stdin.read()


def training_goes_on(workspace: Workspace) -> bool:
    """Whether a training runs in this folder now."""
    if not workspace.training_lock.exists():
        return False
    try:
        with filelock.FileLock(workspace.training_lock, timeout=0):
            return False
    except filelock.Timeout:
        return True


def follow(workspace: Workspace) -> bool:
    """Publish until standard input ends, then once more; True if that last time went well.

    A server that fails is tried again, ever more rarely, up to once a minute.
    """
    os.nice(10)  # training comes first
    pause, published = FOLLOW_INTERVAL, 0
    while not select.select([sys.stdin], [], [], pause)[0]:
        written = (
            workspace.training_report.stat().st_mtime_ns
            if workspace.training_report.exists()
            else 0
        )
        if written == published:
            continue
        try:
            publish(workspace, [Part.TRAINING], training=True)
            pause, published = FOLLOW_INTERVAL, written
        except Exception:  # whatever it is, training goes on and a later call heals it
            pause = min(2 * pause, 60)
    try:
        publish(workspace, [Part.TRAINING])
    except Exception as error:
        print(error if isinstance(error, UserError) else describe(error), file=sys.stderr)
        return False
    return True


def describe(error: BaseException) -> str:
    """The failure of a server in one line."""
    said, cause = first_line(error)[:300], error
    over_the_network = False
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        over_the_network |= isinstance(deeper, requests.RequestException)
        cause = deeper
    if over_the_network and isinstance(cause, OSError):  # what the system says, or the resolver
        said = f"no answer ({cause.strerror or cause})"
    return f"MLflow at {without_password(mlflow.get_tracking_uri())}: {said}"
