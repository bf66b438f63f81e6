"""python -m benchmarks.gpu: does training on a GPU give the same bits, how fast, and how accurate?

Trains `fast` and `release` on the GPU: once, again, and killed in the middle of an epoch (SIGKILL)
and resumed, and `fast` in float32. Each training is a process of its own. Reports seconds, images/s
with and without the first epoch, in which libraries warm up, test accuracy after the last epoch,
and whether the weights are the same bits each time. Exit status 1: not the same, or a failure.

The machine needs Python 3.11 or later, torch with CUDA, NumPy and safetensors, nothing else, and no
network. In the project's environment, here, put together what it needs (12 MB):

    python -m pipeline fetch
    python -m benchmarks.gpu --pack        # or both: make gpu-pack

Copy the checkout with artifacts/gpu to the machine. There, in the checkout:

    python -m benchmarks.gpu --quick       # a minute: does everything work?
    python -m benchmarks.gpu               # less than 5 minutes

and bring reports/benchmarks/gpu.md and gpu.json back. They are written anew after each training, so
that a run that is cut off leaves those of the trainings before. A training that fails is reported
with its error, and the others go on. `--device cpu --quick` tries all of it without a GPU.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import gpu_report
from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes, write_json, write_text

PACKED = Path("artifacts/gpu")
REPORTS = Path("reports/benchmarks")
SECONDS = 270  # of the whole run
START = 20  # with fewer seconds left none is started
QUICK: dict[str, Any] = {"images": 2000, "changes": {"epochs": 2}}

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What a process of `benchmarks.gpu_worker` trains, and when it is killed."""

    folder: str  # that was packed
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)  # of the recipe
    images: int | None = None  # so many of the training and of the test images; None: all
    checkpoint: str | None = None  # resume from this file if it is there; write it each epoch
    kill_after: tuple[int, int] | None = None  # SIGKILL in this epoch, after so many batches
    only_warn: bool = False  # of operators that are not deterministic


@dataclass(frozen=True)
class Training:
    """A training of the plan; `name` is first, again, killed, resumed or float32."""

    recipe: str
    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    kill_after: tuple[int, int] | None = None


PLAN = [  # what matters most comes first
    Training("fast", "first"),
    Training("release", "first"),
    Training("fast", "again"),
    Training("fast", "killed", kill_after=(5, 60)),
    Training("fast", "resumed"),
    Training("release", "killed", kill_after=(3, 60)),
    Training("release", "resumed"),
    Training("fast", "float32", {"precision": "float32"}),
    Training("release", "again"),
]
QUICK_PLAN = [
    Training("fast", "first"),
    Training("fast", "killed", kill_after=(2, 2)),
    Training("fast", "resumed"),
    Training("release", "float32", {"precision": "float32"}),
]


def pack(target: Path) -> None:
    """Put MNIST's files and the resolved recipes into a folder, for a machine without either."""
    # that machine lacks what these need
    from benchmarks.recipes import load_recipe
    from pipeline.config import load_params
    from pipeline.core import environment
    from pipeline.core.files import existing, sha256
    from pipeline.core.paths import RAW
    from pipeline.stages.train import CODE

    digests = load_params().fetch.files
    for name, digest in digests.items():
        if not (RAW / name).is_file():
            raise UserError(f"{RAW / name} is missing; `python -m pipeline fetch` gets it")
        if sha256(RAW / name) != digest:
            raise UserError(f"{RAW / name} is not that of params.yaml; fetch it again")
        write_bytes(target / name, existing(RAW / name).read_bytes())
    content = {
        "recipes": {name: asdict(load_recipe(name)) for name in ("fast", "release")},
        "files": digests,
        "gate": load_params().gate.min_accuracy,
        "git_revision": environment.git_revision(),
        "code_sha256": {name: sha256(Path(name)) for name in CODE},
    }
    write_json(target / "recipes.json", content)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {size / 1e6:.0f} MB")


def main(device: str, packed: Path, output: Path | None, seconds: float, *, quick: bool) -> bool:
    """Carry out the plan as far as time allows, writing the report after each training.

    Returns whether all went well: no error, and the same bits each time.
    """
    deadline = time.monotonic() + seconds
    content = read_packed(packed)
    report: Result = {
        "date": datetime.now(UTC).date().isoformat(),
        "git_revision": content["git_revision"],
        "code_changed": changed_code(content["code_sha256"]),
        "gate": content["gate"],
        "machine": None,
        "trainings": [],
        "quick": quick,
    }
    only_warn = False  # once an operator was not deterministic
    with tempfile.TemporaryDirectory() as scratch:
        for training in QUICK_PLAN if quick else PLAN:
            job = job_of(training, device, packed, Path(scratch), quick=quick)
            print(f"{training.recipe}, {training.name}:", flush=True)
            result = train(replace(job, only_warn=only_warn), deadline - time.monotonic())
            if not only_warn and "deterministic" in (result["error"] or ""):
                only_warn, refused = True, result
                print("  again, with warnings only", flush=True)
                result = train(replace(job, only_warn=True), deadline - time.monotonic())
                result["warnings"].insert(0, refused["error"])
            report["machine"] = result.pop("machine", None) or report["machine"]
            report["trainings"].append({**asdict(training), **result})
            report["same_bits"] = same_bits(report["trainings"])
            if output:
                write_json(output / "gpu.json", report)
                write_text(output / "gpu.md", gpu_report.text(report))
    print(gpu_report.text(report))
    verdicts = [found["same"] for each in report["same_bits"].values() for found in each.values()]
    return False not in verdicts and not any(each["error"] for each in report["trainings"])


def read_packed(packed: Path) -> Result:
    """What `pack` has written. UserError if it is not there."""
    try:
        content: Result = json.loads((packed / "recipes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{packed} holds nothing to train on ({error}); `python -m benchmarks.gpu --pack`, in "
            "the project's environment, makes it"
        ) from error
    return content


def changed_code(packed: dict[str, str]) -> list[str]:
    """The modules that are others than when the folder was packed."""
    digests = {
        name: hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).exists() else ""
        for name in packed
    }
    return [name for name, digest in packed.items() if digests[name] != digest]


def job_of(training: Training, device: str, packed: Path, scratch: Path, *, quick: bool) -> Job:
    """What the process of a training does. A killed one and the resumed one share a file."""
    shares = training.name in ("killed", "resumed")
    return Job(
        folder=str(packed),
        recipe=training.recipe,
        changes={"device": device, **(QUICK["changes"] if quick else {}), **training.changes},
        images=QUICK["images"] if quick else None,
        checkpoint=str(scratch / f"{training.recipe}.safetensors") if shares else None,
        kill_after=training.kill_after,
    )


def train(job: Job, seconds: float) -> Result:
    """Run a training in a process of its own, which is killed after so many seconds."""
    result: Result = {"error": None, "epochs": [], "warnings": []}
    if seconds < START:
        return give_up(result, "no time left")
    started = time.monotonic()
    process = subprocess.Popen(  # a traceback of it goes where ours goes
        [sys.executable, "-m", "benchmarks.gpu_worker", json.dumps(asdict(job))],
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        for event in events(process):
            take(result, event)
        status = process.wait()
    finally:
        in_time = timer.is_alive()
        timer.cancel()
        process.kill()
    result["process_seconds"] = time.monotonic() - started
    if not in_time:
        return give_up(result, "no time left")
    if job.kill_after and status == -signal.SIGKILL:
        return result
    if job.kill_after or status != 0:
        return give_up(result, result["error"] or f"the process ended with status {status}")
    if job.checkpoint and result["after_epoch"] == 0:
        return give_up(result, "it started anew")
    return result


def give_up(result: Result, error: str) -> Result:
    """The result with its error, which is said."""
    print(f"  {error}", flush=True)
    return {**result, "error": error}


def events(process: subprocess.Popen[str]) -> Iterator[Result]:
    """What the process tells; lines of anything else are passed on."""
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


def take(result: Result, event: Result) -> None:
    """Add an event to the result, and say what a person wants to know at once."""
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


def same_bits(trainings: list[Result]) -> dict[str, dict[str, Any]]:
    """For each recipe, whether trainings again and resumed end as the first; null: not known.

    `differs_in` is the first epoch whose weights are others.
    """
    found: dict[str, dict[str, Any]] = {}
    for recipe in dict.fromkeys(each["recipe"] for each in trainings):
        digests = {
            each["name"]: {row["epoch"]: row["weights_sha256"] for row in each["epochs"]}
            for each in trainings
            if each["recipe"] == recipe and each.get("epochs")
        }
        first = digests.get("first", {})
        for name in ("again", "resumed"):
            both = sorted(first.keys() & digests.get(name, {}).keys())
            others = [epoch for epoch in both if first[epoch] != digests[name][epoch]]
            found.setdefault(recipe, {})[name] = {
                "same": not others if both else None,
                "epochs_compared": len(both),
                "differs_in": others[0] if others else None,
            }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", action="store_true", help="write the folder --packed, no more")
    parser.add_argument("--packed", type=Path, default=PACKED, help=f"({PACKED})")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="few images and trainings")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"at most ({SECONDS})")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"folder of the report ({REPORTS}; of --quick none, unless this names one)",
    )
    arguments = parser.parse_args()
    try:
        if arguments.pack:
            pack(arguments.packed)
        else:
            output = arguments.output or (None if arguments.quick else REPORTS)
            where = (arguments.device, arguments.packed, output)
            sys.exit(0 if main(*where, arguments.seconds, quick=arguments.quick) else 1)
    except UserError as error:
        sys.exit(f"error: {error}")
