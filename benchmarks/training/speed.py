"""python -m benchmarks training: our recipes and two well-known baselines for MNIST.

Trains our recipes `release` and `fast`, `fast` cut to three epochs, the original's recipe for the
same network, and PyTorch's example network. Each has its own process; they take turns epoch by
epoch, so that only one works at a time and a slow hour of the machine affects all alike. The
network of each last epoch is exported and measured in ONNX Runtime, as a release is; the file stays
in artifacts/benchmarks/.

Takes 40 to 80 minutes on two idle cores. `--epochs 1` measures the speed in a few minutes and
writes no report.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from matplotlib.ticker import FuncFormatter
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks import models
from benchmarks.models import export, read_set, task_of
from benchmarks.report import reports, write_report
from benchmarks.tables import median_and_range, table
from benchmarks.training.baselines import train_example, train_original
from benchmarks.training.processes import process_for_each
from benchmarks.training.recipes import load_recipe
from pipeline.config import load_params
from pipeline.core.figures import Figure, save_figure
from pipeline.core.files import read_tensors
from pipeline.core.workspace import Workspace
from pipeline.training.device import choose_precision
from pipeline.training.measuring import measure
from pipeline.training.network import build_network, count_parameters
from pipeline.training.trainer import train

Networks = Iterator[nn.Sequential]
RELEASE, FAST, SHORTEST = "ours, release", "ours, fast", "ours, shortest"
ORIGINAL, EXAMPLE = "original", "PyTorch example"
RECIPES = {RELEASE: "release", FAST: "fast", SHORTEST: "shortest"}


@dataclass(frozen=True)
class Method:
    """A way to train: `start(images, labels, seed)` yields the network after each epoch."""

    epochs: int
    start: Callable[[Tensor, Tensor, int], Networks]


@dataclass(frozen=True)
class Epoch:
    """Cost and result of an epoch; only the last one has an `exported_accuracy`."""

    seconds: float
    test_accuracy: float
    exported_accuracy: float | None
    parameters: int


Results = dict[str, list[Epoch]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="stop each training after this many")


def main(workspace: Workspace, seed: int, epochs: int | None) -> None:
    """Train, then write the report unless `epochs` cuts the trainings short."""
    images = len(read_tensors(workspace.training_set)["images"])
    gate = load_params(workspace.params).gate.min_accuracy
    results = run(workspace, seed, epochs or 10_000)
    text = show(results, images, gate)
    if epochs:
        print(text)
        return
    measured = {
        name: {
            "seconds": sum(epoch.seconds for epoch in trained),
            "seconds_to_gate": seconds_to_gate(trained, gate),
            "speed_up": speed_up(results, name),
            "epochs": [asdict(epoch) for epoch in trained],
        }
        for name, trained in results.items()
    }
    asked_for = load_recipe(workspace, "release").precision
    precision = str(choose_precision(asked_for, torch.device("cpu"))).removeprefix("torch.")
    result: dict[str, Any] = {
        "seed": seed,
        "images": images,
        "gate": gate,
        "our_precision": precision,
        "methods": measured,
    }
    save_figure(draw(results, gate), reports(workspace) / "training.png")
    text += (
        "\n\nOne training each, in turn epoch by epoch, all on the CPU: ours in "
        f"{precision}, the others in float32, as published. Seconds are of training only. Each "
        "speed is the median over the rounds, in which every training took an epoch, times the "
        "ratio of the numbers of epochs. The test accuracy of the last epoch is that of the "
        "exported file in ONNX Runtime.\n\n"
        "![Test error against seconds of training](training.png)"
    )
    write_report(workspace, "training", result, text, ["torchvision", "pillow"])


def ours(workspace: Workspace, name: str) -> Method:
    """Training with our recipe of this name."""
    task = task_of(workspace)

    def start(images: Tensor, labels: Tensor, seed: int) -> Networks:
        network = build_network(task)
        recipe = load_recipe(workspace, name, seed=seed, device="cpu")
        for epoch in train(task, images, labels, recipe):
            network.load_state_dict(epoch.weights)
            yield network

    return Method(load_recipe(workspace, name).epochs, start)


def methods(workspace: Workspace) -> dict[str, Method]:
    """The methods to compare."""
    return {
        **{method: ours(workspace, name) for method, name in RECIPES.items()},
        ORIGINAL: Method(19, train_original),
        EXAMPLE: Method(14, train_example),
    }


def file_name(method: str) -> str:
    """The name, without suffix, of the file with the method's last epoch."""
    return method.replace(",", "").replace(" ", "-").lower()


class Runner:
    """Runs in the process of one method: one epoch per call."""

    workspace: Workspace
    networks: Networks

    @classmethod
    def start(cls, method: str, workspace: Workspace, seed: int) -> None:
        """Set up the training; nothing is computed yet."""
        cls.workspace = workspace
        images, labels = read_set(workspace.training_set)
        cls.networks = methods(workspace)[method].start(images, labels, seed)

    @classmethod
    def epoch(cls, export_as: str | None) -> Epoch:
        """Train for one epoch, timed, then measure on the test set, not timed."""
        started = time.perf_counter()
        network = next(cls.networks)
        seconds = time.perf_counter() - started
        images, labels = read_set(cls.workspace.test_set)
        _, accuracy = measure(task_of(cls.workspace), network, images, labels.long())
        exported = None
        if export_as:
            path = export(cls.workspace, network, export_as)
            exported = models.accuracy(path, images.numpy(), labels.numpy())
        return Epoch(seconds, accuracy, exported, count_parameters(network))


def run(workspace: Workspace, seed: int, most_epochs: int) -> Results:
    """The epochs of each method, trained in turn."""
    compared = methods(workspace)
    planned = {name: min(method.epochs, most_epochs) for name, method in compared.items()}
    results: Results = {name: [] for name in planned}
    with (
        process_for_each(planned, Runner.start, workspace, seed) as processes,
        tqdm(total=sum(planned.values()), unit=" epochs") as progress,
    ):
        for number in range(1, max(planned.values()) + 1):
            for name, process in processes.items():
                if number <= planned[name]:
                    progress.set_postfix_str(name)
                    last = number == compared[name].epochs
                    export_as = file_name(name) if last else None
                    results[name].append(process.submit(Runner.epoch, export_as).result())
                    progress.update()
    return results


def speed_up(results: Results, name: str) -> float:
    """How many times as fast as the original's a training is.

    Epochs of the same round are compared, which the machine's slow moments affect alike.
    """
    original, epochs = results[ORIGINAL], results[name]
    pairs = zip(original, epochs, strict=False)
    an_epoch = median(theirs.seconds / ours.seconds for theirs, ours in pairs)
    return an_epoch * len(original) / len(epochs)


def seconds_to_gate(epochs: list[Epoch], gate: float) -> float | None:
    """Seconds of training until the test accuracy first reaches the gate's; None: never."""
    taken = 0.0
    for epoch in epochs:
        taken += epoch.seconds
        if epoch.test_accuracy >= gate:
            return taken
    return None


def show(results: Results, images: int, gate: float) -> str:
    """The results as a table."""
    total = {name: sum(epoch.seconds for epoch in epochs) for name, epochs in results.items()}
    rows = []
    for name, epochs in results.items():
        seconds = [epoch.seconds for epoch in epochs]
        to_gate = seconds_to_gate(epochs, gate)
        accuracy = epochs[-1].exported_accuracy
        rows.append(
            [
                name,
                f"{epochs[-1].parameters:,}",
                len(epochs),
                median_and_range(seconds, ".1f"),
                f"{images / median(seconds):,.0f}",
                f"{total[name]:.0f}",
                f"{speed_up(results, name):.1f} ×",
                f"{accuracy:.2%}" if accuracy else "",
                f"{to_gate:.0f}" if to_gate else "not reached",
            ]
        )
    headers = [
        "", "parameters", "epochs", "s per epoch (range)", "images/s", "s in total",
        "speed, original = 1", "test accuracy, last epoch", f"s to {gate:.1%}",
    ]  # fmt: skip
    return table(headers, rows)


def draw(results: Results, gate: float) -> Figure:
    """Test errors against seconds of training, both logarithmic."""
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for name, epochs in results.items():
        seconds = [sum(e.seconds for e in epochs[: n + 1]) for n in range(len(epochs))]
        axes.plot(seconds, [1 - e.test_accuracy for e in epochs], ".-", label=name)
    axes.axhline(1 - gate, color="black", linestyle=":")
    axes.annotate(f"the gate, {gate:.1%}", (0, 1 - gate), (4, -12), textcoords="offset points",
                  xycoords=("axes fraction", "data"))  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="test error")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.1%}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.legend()
    return figure
