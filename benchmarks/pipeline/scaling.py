"""python -m benchmarks scaling: time and memory by number of images and of epochs.

Trains on growing parts of MNIST for one epoch, then for more epochs, and measures the peak memory
of `prepare`, training and inference on MNIST and on MNIST repeated. Each measurement is a separate
process. Least squares fit a straight line to each series: its slope is the cost of an image or an
epoch, its start the fixed cost.

Writes reports/benchmarks/scaling.json, .md and .png. Takes about three minutes on two idle cores.
For a quick look: `--rounds 1 --images 3750 7500 --repeats 1 2`.
"""

import argparse
import gzip
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from tqdm import tqdm

from benchmarks.memory import Cost, measure
from benchmarks.report import reports, write_report
from benchmarks.tables import table
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.figures import Figure, save_figure
from pipeline.core.files import existing, read_tensors, write_bytes
from pipeline.core.workspace import Workspace

MEASURED = ["prepare", "train", "infer"]  # in this order: the others read what `prepare` writes
BATCHES = 30  # of training; its memory does not grow after them
MIB = 2**20

Points = list[tuple[int, float]]  # number of images or epochs, and what was measured


class Line(NamedTuple):
    """A straight line fitted to points."""

    slope: float
    start: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    for option, default, meaning in (
        (
            "--images",
            [3750, 7500, 15_000, 30_000, 60_000],
            "numbers of images to train on for one epoch",
        ),
        ("--epochs", [1, 2, 4], "numbers of epochs, on the middle number of images"),
        ("--repeats", [1, 2, 4], "repetitions of MNIST for the memory"),
    ):
        shown = f"{meaning} ({' '.join(map(str, default))})"
        parser.add_argument(option, type=int, nargs="+", default=default, metavar="N", help=shown)
    parser.add_argument("--rounds", type=int, default=2, help="runs of each timed training (2)")


def main(
    workspace: Workspace,
    images: Sequence[int],
    epochs: Sequence[int],
    repeats: Sequence[int],
    rounds: int,
) -> None:
    """Measure everything, write the report and print it."""
    full = len(read_tensors(workspace.training_set)["images"])
    if max(images) > full:
        raise UserError(f"--images: there are {full:,} in {workspace.training_set}")
    some = sorted(images)[len(images) // 2]
    trainings = dict.fromkeys([*((n, 1) for n in images), *((some, n) for n in epochs)])
    by_images: Points = []
    by_epochs: Points = []
    memory: dict[str, Points] = {kind: [] for kind in MEASURED}
    total = len(repeats) * len(MEASURED) + rounds * len(trainings)
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=total, unit=" runs", disable=None) as progress,
    ):
        scratch = Workspace(Path(folder))
        for path in (workspace.params, workspace.released_model):
            target = scratch.root / workspace.name(path)
            write_bytes(target, existing(path).read_bytes())
        for repeat in sorted(repeats, reverse=True):  # MNIST itself comes last, and stays
            write_raw(workspace, scratch, repeat)
            for kind in MEASURED:
                progress.set_description(f"memory, {kind}")
                options = ["--batches", str(BATCHES)] if kind == "train" else []
                cost = cost_of(scratch, kind, repeat * full, *options)
                memory[kind].append((repeat * full, cost.peak_bytes))
                progress.update()
        for _ in range(rounds):
            for count, number in trainings:
                progress.set_description("time")
                cost = cost_of(scratch, "train", count, "--epochs", str(number))
                seconds = float(cost.output.splitlines()[-1])
                if number == 1:
                    by_images.append((count, seconds))
                if count == some and number in epochs:
                    by_epochs.append((number, seconds))
                progress.update()

    lines = {
        "seconds_by_images": fit(by_images),
        "seconds_by_epochs": fit(by_epochs),
        **{f"{kind}_bytes_by_images": fit(points) for kind, points in memory.items()},
    }
    result = {
        "rounds": rounds,
        "images_for_epochs": some,
        "seconds_by_images": by_images,
        "seconds_by_epochs": by_epochs,
        "peak_bytes_by_images": memory,
        "lines": {name: line._asdict() for name, line in lines.items()},
    }
    save_figure(draw(by_images, by_epochs, some, memory), reports(workspace) / "scaling.png")
    write_report(workspace, "scaling", result, text(result, lines), [])


def write_raw(workspace: Workspace, scratch: Workspace, repeat: int) -> None:
    """Write data/raw of `scratch`: the training set `repeat` times, and the test set."""
    for prefix, path, times in (
        ("train", workspace.training_set, repeat),
        ("t10k", workspace.test_set, 1),
    ):
        tensors = read_tensors(path)
        for name, array in (("images-idx3", tensors["images"]), ("labels-idx1", tensors["labels"])):
            content = idx.encode(np.concatenate([array] * times))
            file = scratch.raw / f"{prefix}-{name}-ubyte.gz"
            write_bytes(file, gzip.compress(content, compresslevel=1))


def cost_of(workspace: Workspace, kind: str, images: int, *options: str) -> Cost:
    """The cost of a task of `benchmarks.pipeline.cost`; its output is its seconds."""
    command = [sys.executable, "-m", "benchmarks.pipeline.cost", kind, str(images)]
    return measure([*command, "--workspace", str(workspace.root), *options])


def fit(points: Points) -> Line:
    """The least-squares line through the points."""
    slope, start = np.polyfit([x for x, _ in points], [y for _, y in points], deg=1)
    return Line(float(slope), float(start))


def text(result: dict[str, object], lines: dict[str, Line]) -> str:
    """The report in Markdown."""
    time, epochs = lines["seconds_by_images"], lines["seconds_by_epochs"]
    rows = [
        [kind, f"{line.slope:,.0f}", f"{line.start / MIB:,.0f}"]
        for kind in MEASURED
        for line in [lines[f"{kind}_bytes_by_images"]]
    ]
    return f"""
![Scaling](scaling.png)

Training takes {1000 * time.slope:.2f} s per 1,000 images of an epoch, plus {time.start:.1f} s; with
{result["images_for_epochs"]:,} images, it takes {epochs.slope:.2f} s per epoch, plus
{epochs.start:.1f} s. Imports at the start of the stage are not included. Runs of each training:
{result["rounds"]}.

Peak resident memory of a process; an image has 784 bytes:

{table(["process", "bytes per image", "MiB without images"], rows)}
"""


def draw(by_images: Points, by_epochs: Points, some: int, memory: dict[str, Points]) -> Figure:
    """Three panels: time by images, time by epochs, memory by images."""
    figure = Figure(figsize=(13, 4))
    left, middle, right = figure.subplots(1, 3)
    plot(left, by_images, "one epoch", "tab:blue")
    plot(middle, by_epochs, f"{some:,} images", "tab:blue")
    for kind, color in zip(MEASURED, ("tab:green", "tab:blue", "tab:orange"), strict=True):
        plot(right, [(count, peak / MIB) for count, peak in memory[kind]], kind, color)
    left.set(title="Training time", xlabel="training images", ylabel="seconds")
    middle.set(title="Training time", xlabel="epochs", ylabel="seconds")
    right.set(title="Peak memory", xlabel="images", ylabel="MiB")
    for axes in (left, middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend()
    return figure


def plot(axes: Axes, points: Points, label: str, color: str) -> None:
    """The points and their line, which starts at zero."""
    counts, values = zip(*points, strict=True)
    line, ends = fit(points), np.array([0, max(counts)])
    axes.plot(counts, values, "o", color=color, markersize=4, label=label)
    axes.plot(ends, line.start + line.slope * ends, color=color, alpha=0.6)
