"""python -m benchmarks.accuracy: what our recipes reach over many seeds, and on distorted digits.

Trains `release` and `fast` with ten seeds each, as many trainings at once as there are cores with
one thread each, exports the last epoch of each and measures it by ONNX Runtime on the test set: as
it is, and moved, turned, scaled, noisy, thinner and thicker, each by the same random numbers for
all. Beside them stand the original recipe and PyTorch's example network, one training each, as
`python -m benchmarks.training` left them in artifacts/benchmarks/; run that first.

Takes about an hour on two cores with bfloat16, three without. Every network that was measured is a
row of reports/benchmarks/accuracy.csv; what is there already is not done again, so that the command
can be stopped and started, but for what is by another recipe or code. The report is written when
all are there. `--seeds 2` is a quick look.
"""

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import distortions, rivals
from benchmarks.distortions import DISTORTIONS
from benchmarks.models import MODELS, export, mistakes
from benchmarks.recipes import load_recipe
from benchmarks.report import REPORTS, table, write_report
from benchmarks.training import EXAMPLE, FAST, ORIGINAL, RECIPES, RELEASE, file_name
from benchmarks.trainings import add_row, add_rows, code_digest, digest, read_rows
from pipeline.config import load_params
from pipeline.core.files import read_tensors, sha256
from pipeline.core.paths import TEST, TRAIN
from pipeline.mnist.network import build_network
from pipeline.stages.train import CODE
from pipeline.training import trainer
from pipeline.training.device import choose_device, choose_precision

RUNS = REPORTS / "accuracy.csv"
GATE = load_params().gate.min_accuracy
SEEDS = 10
FUSION = "pipeline/training/fusion.py"  # of the exported file
RIVALS = [ORIGINAL, EXAMPLE]
SAME_KINDS = (
    "Our recipes train with distortions of these kinds, the original with rotation and enlargement "
    "alone, the example with none: the table tells what such training is worth, not how the "
    "networks do on distortions that none of them was trained with."
)

Accuracies = dict[str, list[float]]  # 0..1, by distortion, a number for each training


class Run(NamedTuple):
    """What names a row of the table."""

    way: str
    seed: int
    decided_by: str


def deciding(way: str) -> str:
    """A digest of all that decides what is measured but the seed: recipe, code and data."""
    recipe: Any
    if way in RECIPES:
        recipe, names = asdict(load_recipe(RECIPES[way], seed=0)), (*CODE, FUSION)
    else:
        recipe, names = code_digest(Path(rivals.__file__)), ("pipeline/mnist/network.py", FUSION)
    code = [Path(name) for name in names]
    code_digests = map(code_digest, [*code, Path(distortions.__file__)])
    return digest(recipe, *code_digests, sha256(TRAIN), sha256(TEST))


def train_once(way: str, seed: int, decided_by: str) -> dict[str, Any]:
    """Train on all training images and measure the last epoch's file; the row of the table."""
    recipe = load_recipe(RECIPES[way], seed=seed)
    data = read_tensors(TRAIN)
    images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    for epoch in trainer.train(images, labels, recipe):
        weights = epoch.weights
    network = build_network()
    network.load_state_dict(weights)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    path = export(network, f"{file_name(way)}-{seed}")
    return row(Run(way, seed, decided_by), str(precision).removeprefix("torch."), path)


def row(run: Run, precision: str, path: Path) -> dict[str, Any]:
    """The row of a network that was trained in this precision and exported to `path`."""
    return {**run._asdict(), "precision": precision, **measure(path)}


def measure(path: Path) -> dict[str, float]:
    """Accuracy, 0..1, of the file on the test set under each distortion."""
    test = read_tensors(TEST)
    found = {}
    for distortion, distort in DISTORTIONS.items():
        images = distort(test["images"], np.random.default_rng(1))
        found[distortion] = 1 - mistakes(path, images, test["labels"]) / len(images)
    return found


def finished() -> dict[Run, dict[str, str]]:
    """The rows of the table so far."""
    rows = read_rows(RUNS)
    return {Run(row["way"], int(row["seed"]), row["decided_by"]): row for row in rows}


def main(seeds: int) -> None:
    """Train what is missing, measure, and write the report if it is about ten seeds."""
    decided_by = {way: deciding(way) for way in (*RIVALS, FAST, RELEASE)}
    theirs = [Run(way, 1, decided_by[way]) for way in RIVALS]
    done = finished()
    for missing in [run for run in theirs if run not in done]:
        path = MODELS / f"{file_name(missing.way)}.onnx"
        if not path.exists():
            sys.exit(f"{path} is missing: `python -m benchmarks.training` makes it")
        add_row(RUNS, row(missing, "float32", path))
    numbers = range(1, seeds + 1)
    ours = [Run(way, seed, decided_by[way]) for way in (FAST, RELEASE) for seed in numbers]
    add_rows(RUNS, train_once, [run for run in ours if run not in done])
    done = finished()
    found: dict[str, Accuracies] = {
        way: {
            distortion: [float(done[run][distortion]) for run in (*theirs, *ours) if run.way == way]
            for distortion in DISTORTIONS
        }
        for way in (RELEASE, FAST, *RIVALS)
    }
    precisions = Counter(done[run]["precision"] for run in ours)
    text = show(found, precisions)
    if seeds < SEEDS:
        print(text)
        return
    result = {"gate": GATE, "precisions": precisions, "accuracy": found}
    write_report("accuracy", result, text, ["torchvision", "scipy"])


def show(found: dict[str, Accuracies], precisions: dict[str, int]) -> str:
    """The report: spread over seeds, and accuracy by distortion."""
    undistorted = next(iter(DISTORTIONS))
    rows = []
    for name, accuracies in found.items():
        plain = accuracies[undistorted]
        passed = sum(accuracy >= GATE for accuracy in plain)
        deviation = f"{stdev(plain):.3%}" if len(plain) > 1 else ""
        rows.append([name, len(plain), f"{mean(plain):.3%}", deviation, f"{min(plain):.2%}",
                     f"{max(plain):.2%}", f"{passed} of {len(plain)}"])  # fmt: skip
    over_seeds = table(
        ["test set", "seeds", "mean", "standard deviation", "lowest", "highest",
         f"at least {GATE:.1%}"], rows,
    )  # fmt: skip
    distorted = table(
        ["test accuracy, mean over seeds", *found],
        [
            [distortion, *(f"{mean(found[name][distortion]):.2%}" for name in found)]
            for distortion in DISTORTIONS
        ],
    )
    trained = " and ".join(f"{count} in {name}" for name, count in precisions.items())
    return (
        f"{over_seeds}\n\n{distorted}\n\nThe exported files of the last epoch in ONNX Runtime; of "
        f"our trainings {trained} ([{RUNS.name}]({RUNS.name})). Every column sees the same "
        f"distorted images. {SAME_KINDS}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 1 (default: 10)")
    main(parser.parse_args().seeds)
