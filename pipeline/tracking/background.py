"""Keeps MLflow up to date from beside a stage: in a process of its own, that can hang or die alone.

A stage never waits for a tracking server longer than the few seconds stated here, and never fails
for it. What a server missed, `python -m pipeline track` brings to it later.
MLFLOW_TRACKING_URI=none turns all this off.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import variables
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component

_PIPELINE = [sys.executable, "-m", "pipeline"]
AT_THE_END = 20  # seconds for what is left to publish when training has ended
AT_ONCE = 60  # seconds for all that there is, a new store included
MISSED = (
    "MLflow is not up to date ({}); the files are complete: run `python -m pipeline track` later"
)


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
    with _beside(workspace, "--wait", *components, seconds=AT_ONCE):
        yield
        if enabled():
            print("publishing to MLflow ...", flush=True)


def publish(workspace: Workspace, *components: Component) -> None:
    """Publish what the files say of these components, or of all, once, now."""
    with publishing(workspace, *components):
        pass


def enabled() -> bool:
    """Whether tracking is on: MLFLOW_TRACKING_URI is not `none`."""
    return variables.MLFLOW_TRACKING_URI.get() != "none"


@contextmanager
def _beside(workspace: Workspace, *arguments: str, seconds: float) -> Iterator[None]:
    """Run `track`, which sees the block end, and give it `seconds` to finish after that."""
    if not enabled():
        yield
        return
    publisher = subprocess.Popen(
        [*_PIPELINE, "--workspace", str(workspace.root), "track", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert publisher.stdin is not None
    with publisher.stdin:  # closed however this process ends: the publisher then ends by itself
        yield
    try:
        if publisher.wait(seconds) != 0:
            print(MISSED.format("see above"), file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(MISSED.format(f"no answer in {seconds} s"), file=sys.stderr)
    finally:
        publisher.kill()
        publisher.wait()
