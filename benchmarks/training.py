"""python -m benchmarks.training: ours beside two well-known ways to train on MNIST.

Our recipes `release` and `fast`, the recipe of the original for the same network, and PyTorch's
example network. Each has a process of its own; epoch by epoch they take turns, so that only one
works at a time and a slow hour of the machine hits all alike. The network of each last epoch is
exported and measured by ONNX Runtime, as a release is; the file stays in artifacts/benchmarks/.

Takes 40 to 80 minutes on two cores, on which nothing else should run. `--epochs 1` gives the
speeds in a few minutes and writes no report.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

import torch
from matplotlib.ticker import FuncFormatter
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.models import export, test_accuracy
from benchmarks.recipes import load_recipe
from benchmarks.report import REPORTS, table, write_report
from benchmarks.rivals import train_example, train_original
from pipeline.config import load_params
from pipeline.core.figures import Figure, save_figure
from pipeline.core.files import read_tensors
from pipeline.core.paths import TEST, TRAIN
from pipeline.mnist.network import build_network, count_parameters
from pipeline.training.device import choose_precision
from pipeline.training.trainer import measure, train

Networks = Iterator[nn.Sequential]
GATE = load_params().gate.min_accuracy
RELEASE, FAST, ORIGINAL, EXAMPLE = "ours, release", "ours, fast", "original", "PyTorch example"
RECIPES = {RELEASE: "release", FAST: "fast"}  # ours, by the name of the way to train


@dataclass(frozen=True)
class Way:
    """A way to train: `start(images, labels, seed)` yields the network after each epoch."""

    epochs: int
    start: Callable[[Tensor, Tensor, int], Networks]


@dataclass(frozen=True)
class Epoch:
    """What an epoch took and led to; `exported_accuracy` after the last one alone."""

    seconds: float
    test_accuracy: float
    exported_accuracy: float | None
    parameters: int


def ours(name: str) -> Way:
    """Training by our recipe of that name."""

    def start(images: Tensor, labels: Tensor, seed: int) -> Networks:
        network = build_network()
        for epoch in train(images, labels, load_recipe(name, seed=seed, device="cpu")):
            network.load_state_dict(epoch.weights)
            yield network

    return Way(load_recipe(name).epochs, start)


def ways() -> dict[str, Way]:
    """All that are compared."""
    return {
        **{way: ours(name) for way, name in RECIPES.items()},
        ORIGINAL: Way(19, train_original),
        EXAMPLE: Way(14, train_example),
    }


def file_name(way: str) -> str:
    """The name of the file that its last epoch leaves, without suffix."""
    return way.replace(",", "").replace(" ", "-").lower()


class Runner:
    """Runs in the process of one way: one epoch a call."""

    networks: Networks

    @classmethod
    def start(cls, way: str, seed: int) -> None:
        """Begin a training; nothing is computed yet."""
        data = read_tensors(TRAIN)
        images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
        cls.networks = ways()[way].start(images, labels, seed)

    @classmethod
    def epoch(cls, export_as: str | None) -> Epoch:
        """Train for one epoch, then measure on the test set, which is not in the time."""
        started = time.perf_counter()
        network = next(cls.networks)
        seconds = time.perf_counter() - started
        test = read_tensors(TEST)
        _, accuracy = measure(
            network, torch.from_numpy(test["images"]), torch.from_numpy(test["labels"]).long()
        )
        exported = test_accuracy(export(network, export_as)) if export_as else None
        return Epoch(seconds, accuracy, exported, count_parameters(network))


def run(seed: int, most_epochs: int) -> dict[str, list[Epoch]]:
    """The epochs of each way, trained in turn."""
    context = multiprocessing.get_context("spawn")
    compared = ways()
    chosen = {name: min(way.epochs, most_epochs) for name, way in compared.items()}
    pools = {
        name: ProcessPoolExecutor(1, context, initializer=Runner.start, initargs=(name, seed))
        for name in chosen
    }
    results: dict[str, list[Epoch]] = {name: [] for name in chosen}
    with tqdm(total=sum(chosen.values()), unit=" epochs") as bar:
        for number in range(1, max(chosen.values()) + 1):
            for name, pool in pools.items():
                if number <= chosen[name]:
                    bar.set_postfix_str(name)
                    last = number == compared[name].epochs
                    export_as = file_name(name) if last else None
                    results[name].append(pool.submit(Runner.epoch, export_as).result())
                    bar.update()
    for pool in pools.values():
        pool.shutdown()
    return results


def seconds_to_gate(epochs: list[Epoch]) -> float | None:
    """Seconds of training until the test accuracy first was that of the gate; None: never."""
    taken = 0.0
    for epoch in epochs:
        taken += epoch.seconds
        if epoch.test_accuracy >= GATE:
            return taken
    return None


def show(results: dict[str, list[Epoch]], images: int) -> str:
    """The table."""
    total = {name: sum(epoch.seconds for epoch in epochs) for name, epochs in results.items()}
    rows = []
    for name, epochs in results.items():
        seconds = [epoch.seconds for epoch in epochs]
        gate = seconds_to_gate(epochs)
        accuracy = epochs[-1].exported_accuracy
        rows.append(
            [
                name,
                f"{epochs[-1].parameters:,}",
                f"{len(epochs)}",
                f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
                f"{images / median(seconds):,.0f}",
                f"{total[name]:.0f}",
                f"{total[ORIGINAL] / total[name]:.1f} ×",
                f"{accuracy:.2%}" if accuracy else "",
                f"{gate:.0f}" if gate else "not reached",
            ]
        )
    headers = [
        "", "parameters", "epochs", "s an epoch (from, to)", "images/s", "s in all",
        "faster than the original", "test accuracy, last epoch", f"s to first {GATE:.1%}",
    ]  # fmt: skip
    return table(headers, rows)


def draw(results: dict[str, list[Epoch]]) -> Figure:
    """Test errors against seconds of training, both logarithmic."""
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for name, epochs in results.items():
        seconds = [sum(e.seconds for e in epochs[: n + 1]) for n in range(len(epochs))]
        axes.plot(seconds, [1 - e.test_accuracy for e in epochs], ".-", label=name)
    axes.axhline(1 - GATE, color="black", linestyle=":")
    axes.annotate(f"the gate, {GATE:.1%}", (0, 1 - GATE), (4, 3), textcoords="offset points",
                  xycoords=("axes fraction", "data"))  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="test error")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.1%}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.legend()
    return figure


def main(seed: int, most_epochs: int | None) -> None:
    """Train, then write the report unless the trainings were cut short."""
    images = len(read_tensors(TRAIN)["images"])
    results = run(seed, most_epochs or 10_000)
    text = show(results, images)
    if most_epochs:
        print(text)
        return
    measured = {
        name: {
            "seconds": sum(epoch.seconds for epoch in epochs),
            "seconds_to_gate": seconds_to_gate(epochs),
            "epochs": [asdict(epoch) for epoch in epochs],
        }
        for name, epochs in results.items()
    }
    asked_for = load_recipe("release").precision
    precision = str(choose_precision(asked_for, torch.device("cpu"))).removeprefix("torch.")
    result = {
        "seed": seed,
        "images": images,
        "gate": GATE,
        "our_precision": precision,
        "ways": measured,
    }
    save_figure(draw(results), REPORTS / "training.png")
    text += (
        "\n\nOne training each, in turn, epoch by epoch, all on the CPU: ours in "
        f"{precision}, the others in float32, as they are published. Seconds are of training "
        "alone. Each ratio is of one training of each, so it is as uncertain as the seconds an "
        "epoch, whose span the table shows. Test accuracy of the last epoch is that of the "
        "exported file in ONNX Runtime.\n\n"
        "![Test error against seconds of training](training.png)"
    )
    write_report("training", result, text, ["torchvision", "pillow"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="stop each training after so many")
    arguments = parser.parse_args()
    main(arguments.seed, arguments.epochs)
