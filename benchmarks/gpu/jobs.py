"""Trainings in processes of their own: what each is told, and what it reports."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

START = 20  # with fewer seconds left no training is started

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What a process of `benchmarks.gpu.worker` trains, and when it is killed."""

    folder: str  # that was packed
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)  # of the recipe
    images: int | None = None  # so many of the training and of the test images; None: all
    checkpoint: str | None = None  # resume from this file if it is there; write it each epoch
    kill_after: tuple[int, int] | None = None  # SIGKILL in this epoch, after so many batches
    only_warn: bool = False  # of operators that are not deterministic


def train(job: Job, seconds: float) -> Result:
    """Run a training in a process of its own, which is killed after so many seconds."""
    result: Result = {"error": None, "epochs": [], "warnings": []}
    if seconds < START:
        return failed(result, "no time left")
    started = time.monotonic()
    process = subprocess.Popen(  # its traceback goes where ours goes
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
        return failed(result, "it started over")
    return result


def failed(result: Result, error: str) -> Result:
    """The result with its error, which is printed."""
    print(f"  {error}", flush=True)
    return {**result, "error": error}


def events(process: subprocess.Popen[str]) -> Iterator[Result]:
    """What the process reports; other lines are passed on."""
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
    """Add an event to the result, and print what a person wants to know at once."""
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
