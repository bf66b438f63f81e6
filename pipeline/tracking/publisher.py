"""Brings a server up to date with the files: once, or repeatedly during a training."""

import os
import select
import sys

import filelock
import requests
from mlflow import MlflowClient

from pipeline.core.environment import without_password
from pipeline.core.errors import UserError, first_line
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component, links, store
from pipeline.tracking.backprop import publish_backprop, read_backprop
from pipeline.tracking.runs import Published
from pipeline.tracking.snapshot import read_training_run
from pipeline.tracking.training import publish_training

BACKPROP_EXPERIMENT = "back-propagation"
FOLLOW_INTERVAL = 2.0  # seconds between checks of the files


def publish(
    workspace: Workspace, client: MlflowClient, component: Component, *, training: bool = False
) -> Published | None:
    """Publish the training or the back-propagation to the server; None if it has no files here.

    `training`: whether the training in the files is still running. If the server cannot be
    reached, raises MlflowException or an error of its transport.
    """
    if component is Component.TRAINING and workspace.training_report.exists():
        run = read_training_run(workspace, files=not training)
        report = run.reports.training.report
        task = load_task(report.task, workspace.root, named_in=str(workspace.training_report))
        experiment = store.experiment_id(client, store.experiment_name(task.model))
        end = "RUNNING" if training else "KILLED"
        done = publish_training(client, experiment, run, task.data_set, unfinished=end)
    elif component is Component.BACKPROP and workspace.backprop_summary.exists():
        outcome = read_backprop(workspace)
        experiment = store.experiment_id(client, BACKPROP_EXPERIMENT)
        done = publish_backprop(client, experiment, outcome)
    else:
        return None
    links.record(workspace, component, done.page)
    return done


def wait(workspace: Workspace) -> None:
    """Prepare MLflow, which takes seconds, and return when standard input ends."""
    with store.connect(workspace):
        pass
    sys.stdin.read()


def is_training(workspace: Workspace) -> bool:
    """Whether a training is running in this workspace."""
    if not workspace.training_lock.exists():
        return False
    try:
        with filelock.FileLock(workspace.training_lock, timeout=0):
            return False
    except filelock.Timeout:
        return True


def follow(workspace: Workspace) -> bool:
    """Publish until standard input ends, then once more; returns whether the last time succeeded.

    If a server fails, the next attempt waits longer each time, up to a minute.
    """
    os.nice(10)  # training comes first

    def publish_now(*, training: bool) -> None:
        with store.connect(workspace) as client:
            publish(workspace, client, Component.TRAINING, training=training)

    report, pause, published = workspace.training_report, FOLLOW_INTERVAL, 0
    while not select.select([sys.stdin], [], [], pause)[0]:
        written = report.stat().st_mtime_ns if report.exists() else 0
        if written == published:
            continue
        try:
            publish_now(training=True)
            pause, published = FOLLOW_INTERVAL, written
        except Exception:  # whatever the error, training continues and a later attempt catches up
            pause = min(2 * pause, 60)
    try:
        publish_now(training=False)
    except Exception as error:
        message = error if isinstance(error, UserError) else describe(error, workspace)
        print(message, file=sys.stderr)
        return False
    return True


def describe(error: BaseException, workspace: Workspace) -> str:
    """The failure of the tracking server, or of a local file, in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    reason, cause = first_line(error)[:300], error
    over_the_network = False
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        over_the_network |= isinstance(deeper, requests.RequestException)
        cause = deeper
    if over_the_network and isinstance(cause, OSError):  # of the system or the resolver
        reason = f"no answer ({cause.strerror or cause})"
    return f"MLflow at {without_password(store.address(workspace.root))}: {reason}"
