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
    seeds: tuple[int, ...] = ()  # one training for each; (): the recipe's seed
    graph: bool = False  # replay a recording of the step
    inference: bool = False  # measure inference as well
    images: int | None = None  # the first ones of each set; None: all
    checkpoint: str | None = None  # resume from this file if it exists; write it each epoch
    kill_after: tuple[int, int] | None = None  # SIGKILL in this epoch, after this many batches
    only_warn: bool = False  # do not fail on nondeterministic operators


def train(job: Job, seconds: float) -> Result:
    """Run a job in a separate process, which is killed after `seconds`.

    That is an error unless one of several seeds has finished: the result then has fewer.
    """
    result = empty()
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
            if event["event"] == "start":
                result["setup_seconds"] = time.monotonic() - started
            add_event(result, event)
        status = process.wait()
    finally:
        in_time = timer.is_alive()
        timer.cancel()
        process.kill()
    result["process_seconds"] = time.monotonic() - started
    if not in_time:
        some = len(job.seeds) > 1 and any("test_accuracy" in run for run in result["runs"])
        return result if some else failed(result, f"stopped after {seconds:.0f} s")
    if job.kill_after and status == -signal.SIGKILL:
        return result
    if job.kill_after or status != 0:
        return failed(result, result["error"] or f"the process ended with status {status}")
    if job.checkpoint and result["runs"][0]["after_epoch"] == 0:
        return failed(result, "it started over instead of resuming")
    return result


def empty() -> Result:
    """The result of a job that has not started."""
    return {"error": None, "warnings": [], "runs": []}


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
    """Add an event to the result, or to the last of its runs; print progress."""
    kind = event.pop("event")
    if kind == "warning":
        result["warnings"].append(event["message"])
    elif kind == "error":
        result["error"] = event["message"]
    elif kind == "run":
        result["runs"].append({**event, "epochs": []})
    elif kind == "epoch":
        result["runs"][-1]["epochs"].append(event)
    elif kind == "end":
        run = result["runs"][-1]
        run.update(event)
        seconds = sum(row["seconds"] for row in run["epochs"])
        print(
            f"  seed {run['seed']}: {len(run['epochs'])} epochs in {seconds:.2f} s, "
            f"test accuracy {run['test_accuracy']:.2%}",
            flush=True,
        )
    else:  # start, finish
        result.update(event)
