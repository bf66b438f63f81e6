"""Keeps MLflow up to date from beside a stage: in a process of its own, that can hang or die alone.

A stage never waits for a tracking server longer than the few seconds stated here, and never fails
for it. What a server missed, `python -m pipeline track` brings to it later.
MLFLOW_TRACKING_URI=none turns all this off.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.tracking import Part

TRACK = [sys.executable, "-m", "pipeline", "track"]
AT_THE_END = 20  # seconds for what is left to publish when training has ended
AT_ONCE = 60  # seconds for all that there is, a new store included
MISSED = (
    "MLflow is not up to date ({}); the files are complete: run `python -m pipeline track` later"
)


@contextmanager
def following() -> Iterator[None]:
    """Publish what the files say, again and again, while the block runs, and once after it."""
    if not wanted():
        yield
        return
    follower = subprocess.Popen(
        [*TRACK, "--follow"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert follower.stdin is not None
    with follower.stdin:  # however this process ends, the other side sees it, and ends by itself
        yield
    _wait(follower, AT_THE_END)


def publish(*parts: Part) -> None:
    """Publish what the files say of these parts, or of all, once, now."""
    if not wanted():
        return
    print("publishing to MLflow ...", flush=True)
    _wait(subprocess.Popen([*TRACK, *parts], start_new_session=True), AT_ONCE)


def wanted() -> bool:
    """Whether tracking is on: MLFLOW_TRACKING_URI is not `none`."""
    return os.environ.get("MLFLOW_TRACKING_URI") != "none"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        if process.wait(seconds) != 0:
            print(MISSED.format("see above"), file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(MISSED.format(f"no answer in {seconds} s"), file=sys.stderr)
    finally:
        process.kill()
        process.wait()
