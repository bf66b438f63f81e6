"""python -m benchmarks.gpu: is training on a GPU reproducible, how fast is it, how accurate?

Trains `fast` on the GPU with eager steps, with the recording of a step (a CUDA graph), a second
time, and a third time with a SIGKILL in the middle of an epoch, after which training resumes;
`release` with both kinds of steps; `fast` in float32; then each recipe with ten seeds. Where the
recording gave the same bits, it also takes the steps of the trainings that come after it. Reports
seconds of set-up, recording and epochs apart, images/s of training and inference, test accuracy
after the last epoch, and whether the weights are bit-identical each time. Accuracy and inference
are those of the torch network: nothing is exported. Exits with status 1 if weights differ or a
training fails.

Each training is a separate process, but the ten of a recipe share one. They come last and get the
time that is left: the report says how many there are.

The machine requires Python 3.11 or later, torch with CUDA, NumPy and safetensors, nothing else, and
no network. First pack its input (12 MB) in the project's environment:

    python -m pipeline fetch
    python -m benchmarks.gpu --pack        # or both: make gpu-pack

Copy the checkout, including artifacts/gpu, to the machine. Run there, in the checkout:

    python -m benchmarks.gpu --quick       # a minute: does everything work?
    python -m benchmarks.gpu               # less than 5 minutes

Then copy reports/benchmarks/gpu.md and gpu.json back. They are rewritten after each training, so an
interrupted run keeps the results of finished trainings. If a training fails, its error is reported
and the others continue. `--device cpu --quick` tries everything but the recording without a GPU.
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
ONE = 90  # seconds; time limit of a training with one seed
QUICK: dict[str, Any] = {"images": 2000, "changes": {"epochs": 2}}


@dataclass(frozen=True)
class Training:
    """A training of the plan; `name` is eager, graph, again, killed, resumed, float32 or seeds."""

    recipe: str
    name: str
    graph: bool | None = None  # replay a recorded step; None: if that gave the bits of eager steps
    changes: dict[str, Any] = field(default_factory=dict)
    kill_after: tuple[int, int] | None = None
    seeds: tuple[int, ...] = ()
    inference: bool = False  # measured after the training


FLOAT32 = {"precision": "float32"}
PLAN = [  # the most important first
    Training("fast", "eager", graph=False, inference=True),
    Training("fast", "graph", graph=True),
    Training("fast", "again", graph=False),
    Training("fast", "killed", kill_after=(3, 20)),
    Training("fast", "resumed"),
    Training("release", "eager", graph=False),
    Training("release", "graph", graph=True),
    Training("fast", "float32", changes=FLOAT32),
    Training("fast", "seeds", seeds=tuple(range(1, 11))),
    Training("release", "seeds", seeds=tuple(range(1, 11))),
]
QUICK_PLAN = [
    Training("fast", "eager", graph=False, inference=True),
    Training("fast", "graph", graph=True),
    Training("fast", "killed", kill_after=(2, 1)),
    Training("fast", "resumed"),
    Training("release", "float32", changes=FLOAT32),
    Training("fast", "seeds", seeds=(1, 2)),
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
        "same_bits": [],
        "quick": quick,
    }
    only_warn = False  # set once an operator is not deterministic
    with tempfile.TemporaryDirectory() as scratch:
        for planned in QUICK_PLAN if quick else PLAN:
            graph = graph_works(found) if planned.graph is None else planned.graph
            training = replace(planned, graph=graph)
            job = job_of(training, device, packed, Path(scratch), quick=quick)
            print(f"{training.recipe}, {training.name} ({report.steps(graph)}):", flush=True)
            result = run(replace(job, only_warn=only_warn), deadline)
            if not only_warn and "deterministic" in (result["error"] or ""):
                only_warn, refused = True, result
                print("  repeated with warnings only", flush=True)
                result = run(replace(job, only_warn=True), deadline)
                result["warnings"].insert(0, refused["error"])
            found["machine"] = result.pop("machine", None) or found["machine"]
            found["trainings"].append({**asdict(training), **result})
            found["same_bits"] = same_bits(found["trainings"])
            if output:
                write_json(output / "gpu.json", found)
                write_text(output / "gpu.md", report.text(found))
    print(report.text(found))
    differ = any(row["same"] is False for row in found["same_bits"])
    return not differ and not any(each["error"] for each in found["trainings"])


def run(job: Job, deadline: float) -> Result:
    """Run a job until the deadline; one with a single seed gets ONE seconds at most."""
    if job.graph and job.changes["device"] == "cpu":
        print("  not on a CPU", flush=True)
        return {**jobs.empty(), "skipped": "not on a CPU"}
    left = deadline - time.monotonic()
    return jobs.train(job, left if job.seeds else min(left, ONE))


def job_of(training: Training, device: str, packed: Path, scratch: Path, *, quick: bool) -> Job:
    """The job of a training. The killed and the resumed training share a checkpoint."""
    shares = training.name in ("killed", "resumed")
    return Job(
        folder=str(packed),
        recipe=training.recipe,
        changes={"device": device, **(QUICK["changes"] if quick else {}), **training.changes},
        seeds=training.seeds,
        graph=bool(training.graph),
        inference=training.inference,
        images=QUICK["images"] if quick else None,
        checkpoint=str(scratch / f"{training.recipe}.safetensors") if shares else None,
        kill_after=training.kill_after,
    )


def graph_works(found: Result) -> bool:
    """Whether all trainings `graph` so far, at least one, ended with the bits of eager steps."""
    compared = [row["same"] for row in found["same_bits"] if row["name"] == "graph"]
    errors = [each["error"] for each in found["trainings"] if each["name"] == "graph"]
    return bool(compared) and all(compared) and not any(errors)


def same_bits(trainings: list[Result]) -> list[Result]:
    """Compare trainings with the eager one of the same recipe, precision and seed.

    `same` is None if nothing can be compared; `differs_in` is the first epoch whose weights differ.
    """
    eager = {each["recipe"]: each for each in trainings if each["name"] == "eager"}
    rows = []
    for each in trainings:
        if each["name"] in ("graph", "again", "resumed", "seeds") and each["runs"]:
            first = eager[each["recipe"]]["runs"] if each["recipe"] in eager else []
            expected = digests(first[0]) if first else {}
            runs = [run for run in each["runs"] if first and run["seed"] == first[0]["seed"]]
            found = digests(runs[0]) if runs else {}
            both = sorted(expected.keys() & found.keys())
            others = [epoch for epoch in both if expected[epoch] != found[epoch]]
            rows.append(
                {
                    "recipe": each["recipe"],
                    "name": each["name"],
                    "graph": each["graph"],
                    "same": not others if both else None,
                    "epochs_compared": len(both),
                    "differs_in": others[0] if others else None,
                }
            )
    return rows


def digests(run: Result) -> dict[float, str]:
    """The digest of the weights after each epoch."""
    return {row["epoch"]: row["weights_sha256"] for row in run["epochs"]}
