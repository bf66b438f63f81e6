"""python -m benchmarks overhead: the time that processes, DVC, MLflow and Prefect add.

Runs the whole DAG on MNIST, in copies of this checkout, in ways that differ by one thing each:

  stages     every stage in turn in one process, without imports
  imports    the same process, with imports
  processes  `python -m pipeline STAGE`, a process for each stage
  DVC        `dvc repro` with MLFLOW_TRACKING_URI=none
  MLflow     plain `dvc repro`: a cold run, without data, results or cache
  again      `dvc repro --force` in the same folder: a warm run

Then times `dvc repro` and the Prefect flow there with every stage up to date. The ways take turns.
The time of an epoch varies more between runs than everything else takes, so the comparison leaves
epochs out. Writes reports/benchmarks/overhead.json and .md.

Takes 10 to 20 minutes on two idle cores. For a quick look: `--rounds 1 --flow-rounds 0`.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks.pipeline.checkout import Checkout
from benchmarks.pipeline.runs import (
    DVC,
    FLOW,
    UNTRACKED,
    Run,
    cached,
    process,
    processes,
    repro,
    stages_alone,
)
from benchmarks.report import write_report
from benchmarks.servers import prefect_server
from benchmarks.tables import median_and_range, table
from pipeline.core.workspace import Workspace

WITHOUT_BYTECODE = "MLflow, no bytecode"
LIBRARIES = ["dvc", "mlflow", "prefect"]
WITHOUT_GATE = [  # a model of one epoch would fail it
    "gate.min_accuracy=0.0",
    "gate.min_recall=0.0",
    "gate.max_calibration_error=1.0",
    "gate.min_distorted_accuracy={}",
    "gate.max_changed_predictions={}",
    "gate.min_coverage={}",
    "gate.max_refused=1.0",
    "gate.min_refused_negatives={}",
]

Runs = dict[str, list[Run]]
Seconds = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way (2)")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each training (1)")
    parser.add_argument(
        "--set-param",
        "-S",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of params.yaml, such as train.batch_size=512; repeatable",
    )
    parser.add_argument(
        "--flow-rounds", type=int, default=3, help="runs with nothing to do (3), or 0"
    )
    parser.add_argument(
        "--bytecode",
        action="store_true",
        help="also time a cold run without compiled bytecode, as after `pip install --no-compile`; "
        "takes a minute more",
    )


def main(
    workspace: Workspace,
    rounds: int,
    epochs: int,
    set_param: Sequence[str],
    flow_rounds: int,
    *,
    bytecode: bool,
) -> None:
    """Measure everything, write the report and print it."""
    overrides = [f"train.epochs={epochs}", *WITHOUT_GATE, *set_param]
    with tempfile.TemporaryDirectory() as scratch:
        # later edits have no effect
        clean = Checkout(workspace, Path(scratch) / "clean", overrides)
        runs, up_to_date, checkout = run_in_turn(clean, rounds, Path(scratch))
        if flow_rounds:
            up_to_date = run_with_nothing_to_do(checkout, flow_rounds, Path(scratch))
        if bytecode:
            elsewhere = {"PYTHONPYCACHEPREFIX": f"{scratch}/bytecode"}
            runs[WITHOUT_BYTECODE] = [repro(clean.copy(Path(scratch) / "new"), variables=elsewhere)]
    result = {
        "rounds": rounds,
        "overrides": overrides,
        "runs": {way: [asdict(run) for run in those] for way, those in runs.items()},
        "up_to_date_seconds": up_to_date,
    }
    shown = text(rounds, overrides, runs, up_to_date)
    write_report(workspace, "overhead", result, shown, LIBRARIES)


def run_in_turn(clean: Checkout, rounds: int, scratch: Path) -> tuple[Runs, Seconds, Checkout]:
    """The runs of each way, seconds with nothing to do, and the last tracked checkout."""
    runs: Runs = defaultdict(list)
    up_to_date: Seconds = defaultdict(list)
    progress = tqdm(total=rounds * 7, unit=" runs", disable=None)

    def add(way: str, run: Run) -> None:
        runs[way].append(run)
        progress.update()

    for number in range(rounds):
        in_one, in_many, untracked, tracked = (
            clean.copy(scratch / f"{number}-{way}")
            for way in ("stages", "processes", "DVC", "MLflow")
        )
        alone, whole = stages_alone(in_one)
        add("stages", alone)
        add("imports", whole)
        add("processes", processes(in_many, list(alone.stages)))
        add("DVC", repro(untracked, variables=UNTRACKED))
        add("MLflow", repro(tracked))
        add("again", repro(tracked, "--force"))
        add("track", process(tracked, "track", {}))
        up_to_date["`dvc repro`"].append(cached(tracked, DVC, {}))
    return runs, up_to_date, tracked


def run_with_nothing_to_do(checkout: Checkout, rounds: int, scratch: Path) -> Seconds:
    """Seconds of `dvc repro` and of flow runs on a running server and on a temporary one."""
    seconds: Seconds = defaultdict(list)
    with prefect_server(scratch / "server") as server:
        ways: dict[str, tuple[Sequence[str], dict[str, str]]] = {
            "`dvc repro`": (DVC, {}),
            "flow, server up": (FLOW, server),
            "flow, own server": (FLOW, {"PREFECT_HOME": str(scratch / "alone")}),
        }
        for command, variables in ways.values():  # the first run of each also creates its database
            cached(checkout, command, variables)
        for _ in tqdm(range(rounds), desc="nothing to do", unit=" rounds", disable=None):
            for way, (command, variables) in ways.items():
                seconds[way].append(cached(checkout, command, variables))
    return seconds


def text(rounds: int, overrides: Sequence[str], runs: Runs, up_to_date: Seconds) -> str:
    """The report in Markdown."""
    base = median(run.rest for run in runs["stages"])
    cold, warm = (median(run.rest for run in runs[way]) - base for way in ("MLflow", "again"))
    nothing = up_to_date["`dvc repro`"]
    return f"""
A cold run takes {cold:.1f} s more than the stages alone, and a warm run {warm:.1f} s more. A run
with nothing to do takes {median(nothing):.1f} s. Medians of {rounds} runs, the last of
{len(nothing)}, in turn, with
{", ".join(f"`{text}`" for text in overrides)}.

{ways_table(runs)}

| way | what it is |
|---|---|
| stages | every stage in one process, without imports |
| imports | the same process, with imports |
| processes | `python -m pipeline STAGE`, a process for each stage |
| DVC | `dvc repro`, without MLflow |
| MLflow | `dvc repro`: a cold run, without data, results or cache |
| again | `dvc repro --force` in the same folder: a warm run |

Time by process (medians), with the packages that take most of the import time:

{processes_table(runs)}

With every stage up to date:

{table(["", "seconds (range)"], cells(up_to_date))}
"""


def cells(seconds: Seconds) -> list[list[str]]:
    """A row per way."""
    return [[way, median_and_range(times, ".1f")] for way, times in seconds.items()]


def ways_table(runs: Runs) -> str:
    """A row per way: its seconds, and how many it adds to those of the stages alone."""
    base = median(run.rest for run in runs["stages"])
    rows = [
        [
            way,
            f"{median(run.total for run in those):.1f}",
            f"{median(run.epochs for run in those):.1f}",
            median_and_range([run.rest for run in those], ".1f"),
            f"{median(run.rest for run in those) - base:+.1f}",
        ]
        for way, those in runs.items()
        if way != "track"
    ]
    headers = ["seconds", "total", "epochs", "without epochs (range)", "more than stages"]
    return table(headers, rows)


def processes_table(runs: Runs) -> str:
    """A row per process: seconds of the stage, of the process, in `dvc repro`, of imports."""

    def seconds(way: str, name: str) -> str:
        found = [run.stages[name] for run in runs[way] if name in run.stages]
        return f"{median(found):.1f}" if found else ""

    rows = []
    for way, name in [
        *(("processes", name) for name in runs["stages"][0].stages),
        ("track", "track"),
    ]:
        packages = [run.imports[name] for run in runs[way]]
        average = {
            package: median(found.get(package, 0.0) for found in packages)
            for package in packages[0]
        }
        largest = sorted(average, key=lambda package: -average[package])[:4]
        rows.append(
            [
                f"`{name}`",
                *(seconds(column, name) for column in ("stages", way, "MLflow")),
                f"{sum(average.values()):.1f}",
                ", ".join(f"{package} {average[package]:.2f}" for package in largest),
            ]
        )
    return table(["seconds", "stage", "process", "`dvc repro`", "imports", "largest imports"], rows)
