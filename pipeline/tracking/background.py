"""Keeps MLflow up to date from beside a stage: in a process of its own, that can hang or die alone.

A stage never waits for a tracking server longer than the few seconds stated here, and never fails
for it. The command `track` publishes later what a server missed.
MLFLOW_TRACKING_URI=none turns all this off.
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

AT_THE_END = 20  # seconds for what is left to publish when training has ended
AT_ONCE = 60  # seconds for all that there is, a new store included
NOT_INSTALLED = "not tracked: MLflow is not installed; it comes with the extra tracking"
MISSED = "MLflow is not up to date ({}); the files are complete: publish them later with `track`"


@contextmanager
def following(workspace: Workspace) -> Iterator[None]:
    """Publish the training, again and again, while the block runs, and once after it."""
    with _beside(workspace, "--follow", seconds=AT_THE_END):
        yield


@contextmanager
def publishing(workspace: Workspace, *components: Component) -> Iterator[None]:
    """Publish what the files say of these components, or of all, once, when the block has ended.

    MLflow takes seconds to import: it does so while the block runs.
    """
    with _beside(workspace, "--wait", *components, seconds=AT_ONCE) as started:
        yield
        if started:
            print("publishing to MLflow ...", flush=True)


def publish(workspace: Workspace, *components: Component) -> None:
    """Publish what the files say of these components, or of all, once, now."""
    with publishing(workspace, *components):
        pass


def enabled() -> bool:
    """Whether tracking is on: MLFLOW_TRACKING_URI is not `none`."""
    return variables.MLFLOW_TRACKING_URI.get() != "none"


@contextmanager
def _beside(workspace: Workspace, *arguments: str, seconds: float) -> Iterator[bool]:
    """Run `track`, which sees the block end, and give it `seconds` to finish after that.

    It runs in the workspace's root and imports from where this process does. False if it is not
    started: tracking is off, or MLflow is not installed, which one line says.
    """
    wanted, installed = enabled(), find_spec("mlflow") is not None
    if wanted and not installed:
        print(NOT_INSTALLED, file=sys.stderr)
    if not (wanted and installed):
        yield False
        return
    root, modules = workspace.root.absolute(), map(os.path.abspath, sys.path)
    publisher = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", "--workspace", str(root), "track", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(modules)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert publisher.stdin is not None
    with publisher.stdin:  # closed however this process ends: the publisher then ends by itself
        yield True
    try:
        if publisher.wait(seconds) != 0:
            print(MISSED.format("see above"), file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(MISSED.format(f"no answer in {seconds} s"), file=sys.stderr)
    finally:
        publisher.kill()
        publisher.wait()
