"""python -m benchmarks.gpu: is training on a GPU reproducible, how fast is it, how accurate?

Trains `fast` and `release` on the GPU once, a second time, and a third time with a SIGKILL in the
middle of an epoch, after which training resumes; and `fast` in float32. Each training is a separate
process. Reports seconds, images/s with and without the first epoch (in which libraries warm up),
test accuracy after the last epoch, and whether the weights are bit-identical each time. Exits with
status 1 if they differ or a training fails.

The machine requires Python 3.11 or later, torch with CUDA, NumPy and safetensors, nothing else, and
no network. First pack its input (12 MB) in the project's environment:

    python -m pipeline fetch
    python -m benchmarks.gpu --pack        # or both: make gpu-pack

Copy the checkout, including artifacts/gpu, to the machine. Run there, in the checkout:

    python -m benchmarks.gpu --quick       # a minute: does everything work?
    python -m benchmarks.gpu               # less than 5 minutes

Then copy reports/benchmarks/gpu.md and gpu.json back. They are rewritten after each training, so an
interrupted run keeps the results of finished trainings. If a training fails, its error is reported
and the others continue. `--device cpu --quick` tries everything without a GPU.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu import jobs, report
from benchmarks.gpu.jobs import Job, Result
from benchmarks.gpu.pack import changed_code, pack, read_packed
from pipeline.core.files import write_json, write_text
from pipeline.core.workspace import Workspace

PACKED, REPORTS = "artifacts/gpu", "reports/benchmarks"
SECONDS = 270  # time limit of a run
QUICK: dict[str, Any] = {"images": 2000, "changes": {"epochs": 2}}


@dataclass(frozen=True)
class Training:
    """A training of the plan; `name` is first, again, killed, resumed or float32."""

    recipe: str
    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    kill_after: tuple[int, int] | None = None


PLAN = [  # the most important first
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument(
        "--pack", dest="only_pack", action="store_true", help="only write the folder --packed"
    )
    parser.add_argument("--packed", type=Path, help=f"folder of the input ({PACKED})")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="few images and trainings")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time limit ({SECONDS})")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"folder of the report ({REPORTS}; with --quick: no report)",
    )


def main(
    workspace: Workspace,
    *,
    device: str = "cuda",
    packed: Path | None = None,
    output: Path | None = None,
    seconds: float = SECONDS,
    quick: bool = False,
    only_pack: bool = False,
) -> None:
    """Pack, or check the GPU. SystemExit with status 1 if the check fails."""
    packed = packed or workspace.root / PACKED
    if only_pack:
        pack(workspace, packed)
        return
    if output is None and not quick:
        output = workspace.root / REPORTS
    if not check(device, packed, output, seconds, quick=quick):
        sys.exit(1)


def check(device: str, packed: Path, output: Path | None, seconds: float, *, quick: bool) -> bool:
    """Run the plan as far as time allows; write the report after each training.

    Returns whether no training failed and the weights were bit-identical each time.
    """
    deadline = time.monotonic() + seconds
    content = read_packed(packed)
    found: Result = {
        "date": datetime.now(UTC).date().isoformat(),
        "git_revision": content["git_revision"],
        "code_changed": changed_code(content["code_sha256"]),
        "gate": content["gate"],
        "machine": None,
        "trainings": [],
        "quick": quick,
    }
    only_warn = False  # set once an operator is not deterministic
    with tempfile.TemporaryDirectory() as scratch:
        for training in QUICK_PLAN if quick else PLAN:
            job = job_of(training, device, packed, Path(scratch), quick=quick)
            print(f"{training.recipe}, {training.name}:", flush=True)
            result = jobs.train(replace(job, only_warn=only_warn), deadline - time.monotonic())
            if not only_warn and "deterministic" in (result["error"] or ""):
                only_warn, refused = True, result
                print("  repeated with warnings only", flush=True)
                result = jobs.train(replace(job, only_warn=True), deadline - time.monotonic())
                result["warnings"].insert(0, refused["error"])
            found["machine"] = result.pop("machine", None) or found["machine"]
            found["trainings"].append({**asdict(training), **result})
            found["same_bits"] = same_bits(found["trainings"])
            if output:
                write_json(output / "gpu.json", found)
                write_text(output / "gpu.md", report.text(found))
    print(report.text(found))
    verdicts = [each["same"] for of in found["same_bits"].values() for each in of.values()]
    return False not in verdicts and not any(each["error"] for each in found["trainings"])


def job_of(training: Training, device: str, packed: Path, scratch: Path, *, quick: bool) -> Job:
    """The job of a training. The killed and the resumed training share a checkpoint."""
    shares = training.name in ("killed", "resumed")
    return Job(
        folder=str(packed),
        recipe=training.recipe,
        changes={"device": device, **(QUICK["changes"] if quick else {}), **training.changes},
        images=QUICK["images"] if quick else None,
        checkpoint=str(scratch / f"{training.recipe}.safetensors") if shares else None,
        kill_after=training.kill_after,
    )


def same_bits(trainings: list[Result]) -> dict[str, dict[str, Any]]:
    """Whether the trainings `again` and `resumed` of each recipe end like `first`.

    `same` is None if nothing can be compared; `differs_in` is the first epoch whose weights differ.
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
