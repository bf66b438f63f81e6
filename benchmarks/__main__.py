"""The benchmarks. `python -m benchmarks NAME` runs one, `... NAME --help` explains it."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError, exit_on_failure
from pipeline.core.workspace import Workspace


class Benchmark(NamedTuple):
    """A row of the list."""

    module: str  # within the package benchmarks
    measures: str
    requires: str
    takes: str  # on two idle cores with bfloat16


BENCHMARKS = {
    name: Benchmark(*rest)
    for name, *rest in (
        ("step", "training.step", "a training step: profile, floor, each choice", "data", "3 min"),
        ("training", "training.speed", "our recipes and two baselines", "data", "40 to 80 min"),
        ("accuracy", "training.accuracy", "ten seeds; distorted images", "`training`", "1 to 3 h"),
        ("inference", "inference.comparison", "engines on the same weights", "weights", "3 min"),
        ("novelty", "inference.novelty", "images that show no digit", "data", "2 min"),
        ("pictures", "pictures.reading", "photographs, read right, wrong or not", "data", "5 min"),
        ("monitoring", "monitoring.power", "false alarms; changes noticed", "data", "8 min"),
        ("scoring", "batch.scoring", "a million images with `score`", "data, 1 GB", "6 to 12 min"),
        ("serving", "service.serving", "our service, MLflow's, LitServe", "wrk", "16 min"),
        ("swaps", "service.swaps", "100 changes of the model under load", "-", "4 min"),
        ("shadow", "service.shadow", "what a challenger costs", "wrk", "5 min"),
        ("journal", "service.journal", "what the journal costs", "wrk", "4 min"),
        ("canary", "service.canary", "when a canary ends (simulated)", "nothing", "1 min"),
        (
            "overhead",
            "pipeline.overhead",
            "cost of processes, DVC, MLflow, Prefect",
            "git",
            "10 to 20 min",
        ),
        ("scaling", "pipeline.scaling", "time and memory by images and epochs", "data", "3 min"),
        ("rule", "pipeline.rule", "the release rule, simulated", "params.yaml", "20 s"),
        (
            "collection",
            "collection.selection",
            "wrong labels, poison and copies in feedback",
            "data",
            "2 min",
        ),
        ("loop", "loop.story", "one turn of the loop, with real servers", "nothing", "4 min"),
        ("ablations", "training.ablations", "the recipe, one choice changed", "data", "a day"),
        (
            "gpu",
            "gpu.check",
            "reproducibility, speed and accuracy on a GPU",
            "torch, `make gpu-pack`",
            "5 min",
        ),
    )
}
LEFT_OUT = ("ablations", "gpu", "loop")  # not part of `all`
ALL = "all"


def listing() -> str:
    """The table of benchmarks."""
    rows = [("NAME", "measures", "requires", "takes")]
    rows += [(name, *benchmark[1:]) for name, benchmark in BENCHMARKS.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


@exit_on_failure()
def run(name: str, arguments: Sequence[str]) -> None:
    """Run a benchmark with its command-line arguments; an error prints one line, status 2."""
    try:
        module = import_module(f"benchmarks.{BENCHMARKS[name].module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("benchmarks", "pipeline"):
            raise
        raise UserError(
            f"the package {error.name} is not installed: benchmarks run in the environment that "
            "`make bench` installs"
        ) from error
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workspace", type=Path, help="folder of params.yaml (default: this folder or a parent)"
    )
    module.add_arguments(parser)
    options = vars(parser.parse_args(arguments))
    folder = options.pop("workspace")
    workspace = Workspace.at(folder) if folder else Workspace.find()
    module.main(workspace, **options)


def main(arguments: Sequence[str]) -> None:
    """List the benchmarks, run one, or run all except LEFT_OUT."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"{listing()}\n\nData, weights and the released model come from `make repro`. "
        f"`{ALL}` runs every benchmark except {' and '.join(LEFT_OUT)}, in this order.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, ALL], metavar="NAME")
    chosen = parser.parse_args(arguments[:1]).name
    if chosen is None:
        parser.print_help()
    elif chosen == ALL:
        for name in [name for name in BENCHMARKS if name not in LEFT_OUT]:
            print(f"{name}:", flush=True)
            command = [sys.executable, "-m", "benchmarks", name, *arguments[1:]]
            if status := subprocess.run(command).returncode:
                sys.exit(status)
    else:
        run(chosen, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
