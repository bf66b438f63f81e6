"""Keeps MLflow up to date with a command, in a separate process.

A stage never fails because of a tracking server, and waits for it only as long as stated here.
`track` later publishes what a server missed, and `releases --sync` also moves the alias.
MLFLOW_TRACKING_URI=none turns tracking off.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pipeline.core import variables
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component

AT_THE_END = 20  # seconds to publish the rest after training has ended
AT_ONCE = 60  # seconds to publish everything, including the creation of a store
NOT_INSTALLED = "not tracked: MLflow is not installed; the extra tracking installs it"
MISSED = "MLflow is not up to date ({}); the files are complete: publish them later with `track`"


@contextmanager
def following(workspace: Workspace) -> Iterator[None]:
    """Publish the training repeatedly while the block runs, and once after it."""
    with _publisher(workspace, "track", "--follow", seconds=AT_THE_END):
        yield


@contextmanager
def publishing(workspace: Workspace, *components: Component) -> Iterator[None]:
    """Publish these components, or all, once the block has ended.

    The import of MLflow takes seconds, so it happens while the block runs.
    """
    with _publisher(workspace, "track", "--wait", *components, seconds=AT_ONCE) as started:
        yield
        if started:
            print("publishing to MLflow ...", flush=True)


def publish(workspace: Workspace, *components: Component) -> None:
    """Publish these components, or all, now."""
    with publishing(workspace, *components):
        pass


def synchronise(workspace: Workspace) -> None:
    """Publish everything now, and let MLflow's alias follow the champion."""
    with _publisher(workspace, "releases", "--sync", seconds=AT_ONCE) as started:
        if started:
            print("publishing to MLflow ...", flush=True)


def synchronise_later(workspace: Workspace) -> None:
    """Do the same in a process that outlives this one; its output is discarded."""
    if enabled() and find_spec("mlflow") is not None:
        _start(workspace, "releases", "--sync", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def enabled() -> bool:
    """Whether tracking is on: MLFLOW_TRACKING_URI is not `none`."""
    return variables.MLFLOW_TRACKING_URI.get() != "none"


@contextmanager
def _publisher(workspace: Workspace, *arguments: str, seconds: float) -> Iterator[bool]:
    """Run this command alongside the block, and give it `seconds` to finish after the block.

    It runs in the workspace's root, with the import path of this process. Yields False if it does
    not start: tracking is off, or MLflow is not installed, which prints a line.
    """
    if not enabled():
        yield False
        return
    if find_spec("mlflow") is None:
        print(NOT_INSTALLED, file=sys.stderr)
        yield False
        return
    publisher = _start(workspace, *arguments, stdin=subprocess.PIPE)
    assert publisher.stdin is not None
    with publisher.stdin:  # it closes however this process ends, and then the publisher ends
        yield True
    try:
        if publisher.wait(seconds) != 0:
            print(MISSED.format("see above"), file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(MISSED.format(f"no answer in {seconds} s"), file=sys.stderr)
    finally:
        publisher.kill()
        publisher.wait()


def _start(
    workspace: Workspace, *arguments: str, stdin: int, stderr: int | None = None
) -> "subprocess.Popen[bytes]":
    root, modules = workspace.root.absolute(), map(os.path.abspath, sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", "--workspace", str(root), *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(modules)},
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )
