"""The benchmarks. `python -m benchmarks NAME` runs one, `... NAME --help` explains it."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace


class Benchmark(NamedTuple):
    """A line of the list."""

    module: str  # below benchmarks/
    measures: str
    requires: str
    takes: str  # on two idle cores with bfloat16


BENCHMARKS = {
    "step": Benchmark(
        "training.step", "a training step: profile, floor, what each choice saves", "data", "3 min"
    ),
    "training": Benchmark(
        "training.speed", "our recipes and two published ones: time to accuracy", "data", "40 min"
    ),
    "accuracy": Benchmark(
        "training.accuracy", "ten seeds; distorted test images", "data, models of `training`", "1 h"
    ),
    "inference": Benchmark(
        "inference.comparison", "ONNX Runtime, PyTorch, OpenVINO, int8", "data, weights", "3 min"
    ),
    "scoring": Benchmark(
        "batch.scoring", "a million images through `score`", "data, a release, 1 GB", "6 min"
    ),
    "serving": Benchmark(
        "service.load", "the HTTP service and MLflow's under load", "a release, wrk", "12 min"
    ),
    "overhead": Benchmark(
        "pipeline.overhead", "what processes, DVC, MLflow and Prefect cost", "git", "10 min"
    ),
    "scaling": Benchmark(
        "pipeline.scaling", "time and memory by images and epochs", "data, a release", "3 min"
    ),
    "ablations": Benchmark(
        "training.ablations", "the recipe with one choice changed", "data", "a day"
    ),
    "gpu": Benchmark(
        "gpu.check", "training on a GPU: same bits, speed, accuracy", "`make gpu-pack`, torch", "5 min"
    ),
}  # fmt: skip
LEFT_OUT = ("ablations", "gpu")  # of `all`
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


def run(name: str, arguments: Sequence[str]) -> None:
    """Run a benchmark with the arguments of its command line; an error is one line, status 2."""
    module = import_module(f"benchmarks.{BENCHMARKS[name].module}")
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workspace", type=Path, help="folder of params.yaml (the current one or one above it)"
    )
    module.add_arguments(parser)
    options = vars(parser.parse_args(arguments))
    try:
        module.main(Workspace.find(options.pop("workspace")), **options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str]) -> None:
    """List the benchmarks, run one, or run all but the two that take another machine or a day."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"{listing()}\n\n{ALL} runs them in this order, without {' and '.join(LEFT_OUT)}.",
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
