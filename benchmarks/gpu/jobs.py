"""Trainings in separate processes: the job of each, and what it reports."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

START = 20  # seconds; with less time left, no training starts

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What a process of `benchmarks.gpu.worker` trains, and when it is killed."""

    folder: str  # the packed one
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)  # to the recipe
    images: int | None = None  # the first ones of each set; None: all
    checkpoint: str | None = None  # resume from this file if it exists; write it each epoch
    kill_after: tuple[int, int] | None = None  # SIGKILL in this epoch, after this many batches
    only_warn: bool = False  # do not fail on nondeterministic operators


def train(job: Job, seconds: float) -> Result:
    """Run a training in a separate process, which is killed after `seconds`."""
    result: Result = {"error": None, "epochs": [], "warnings": []}
    if seconds < START:
        return failed(result, "no time left")
    started = time.monotonic()
    process = subprocess.Popen(  # shares our stderr, for its traceback
        [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(asdict(job))],
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        for event in events(process):
            add_event(result, event)
        status = process.wait()
    finally:
        in_time = timer.is_alive()
        timer.cancel()
        process.kill()
    result["process_seconds"] = time.monotonic() - started
    if not in_time:
        return failed(result, "no time left")
    if job.kill_after and status == -signal.SIGKILL:
        return result
    if job.kill_after or status != 0:
        return failed(result, result["error"] or f"the process ended with status {status}")
    if job.checkpoint and result["after_epoch"] == 0:
        return failed(result, "it started over instead of resuming")
    return result


def failed(result: Result, error: str) -> Result:
    """Print the error; returns the result with it."""
    print(f"  {error}", flush=True)
    return {**result, "error": error}


def events(process: subprocess.Popen[str]) -> Iterator[Result]:
    """Yield the events that the process reports; print its other lines."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            try:
                content = json.loads(line)
            except ValueError:
                content = None
            if isinstance(content, dict) and "event" in content:
                yield content
            else:
                print(line, end="", flush=True)


def add_event(result: Result, event: Result) -> None:
    """Add an event to the result; print progress."""
    kind = event.pop("event")
    if kind == "epoch":
        result["epochs"].append(event)
        print(
            f"  epoch {event['epoch']:.0f}: {event['seconds']:.2f} s, "
            f"{event['images_per_second']:,.0f} images/s, loss {event['training_loss']:.4f}",
            flush=True,
        )
    elif kind == "warning":
        result["warnings"].append(event["message"])
    elif kind == "error":
        result["error"] = event["message"]
    elif kind == "start":
        result.update(event)
    else:
        result.update(event)
        print(f"  test accuracy {event['test_accuracy']:.2%}", flush=True)
