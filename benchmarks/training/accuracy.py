"""python -m benchmarks accuracy: our recipes over many seeds and on distorted digits.

Trains `release`, `fast` and `fast` cut to three epochs with ten seeds each, and the two baselines
with one, on all cores with one thread per training. Exports the last epoch of each and measures it
in ONNX Runtime on the test set: undistorted, shifted, rotated, scaled, noisy, with thinner and with
thicker strokes. All networks see the same distorted images. The worst of the seeds in each number
that the gate bounds is where its thresholds come from.

Takes about an hour and a half on two cores with bfloat16, four without. Every measured network is a
row of reports/benchmarks/accuracy.csv and is not trained again, so an interrupted command resumes,
unless recipe, code or data have changed. The report is written when all rows exist. For a quick
look: `--seeds 2`.
"""

import argparse
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.models import export, read_set, task_of
from benchmarks.report import reports, write_report
from benchmarks.tables import table
from benchmarks.training.recipes import load_recipe
from benchmarks.training.runs import add_rows, code_digest, digest, read_rows
from benchmarks.training.speed import EXAMPLE, ORIGINAL, RECIPES, file_name, methods
from pipeline.config import Gate, load_params
from pipeline.core.files import read_tensors, sha256
from pipeline.core.workspace import Workspace
from pipeline.evaluation.behaviour import UNDISTORTED, changed_predictions, distorted_accuracy
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES, Images
from pipeline.evaluation.metrics import summarise
from pipeline.inference.session import OnnxModel
from pipeline.stages.train import code_digests
from pipeline.training.device import choose_precision

CPU = torch.device("cpu")
FIRST_SEED, SEEDS = 11, 10  # seeds that no choice has used
PROJECT = Path(__file__).parents[2]
BASELINE_CODE = [
    "benchmarks/training/baselines.py",
    "pipeline/mnist/__init__.py",
    "pipeline/mnist/network.py",
    "pipeline/training/network.py",
]
MEASURING_CODE = [
    "pipeline/evaluation/behaviour.py",
    "pipeline/evaluation/distortions.py",
    "pipeline/evaluation/metrics.py",
    "pipeline/training/fusion.py",
]
BASELINES = [ORIGINAL, EXAMPLE]
SAME_KINDS = (
    "Our recipes train with distortions of these kinds, the original only with rotation and "
    "enlargement, the example with none: the table shows the benefit of such training, not how the "
    "networks handle distortions that none of them has seen."
)

ACCURACIES = [UNDISTORTED, *(distort.title for distort in DISTORTIONS.values())]
RECALL, CALIBRATION = "lowest recall of a class", "expected calibration error"
CHANGES = [f"{nudge.title}: changed predictions" for nudge in NUDGES.values()]
LOWEST, HIGHEST = [*ACCURACIES, RECALL], [CALIBRATION, *CHANGES]  # what the gate bounds

Measured = dict[str, list[float]]  # 0..1, by column of the table, a number for each training


class Run(NamedTuple):
    """The key of a row of the table."""

    method: str
    seed: int
    decided_by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help=f"number of seeds, from {FIRST_SEED} on ({SEEDS})"
    )


def main(workspace: Workspace, seeds: int) -> None:
    """Train what is missing, measure, and write the report if there are ten seeds."""
    decided_by = {method: deciding(workspace, method) for method in (*RECIPES, *BASELINES)}
    numbers = range(FIRST_SEED, FIRST_SEED + seeds)
    ours = [Run(method, seed, decided_by[method]) for method in RECIPES for seed in numbers]
    runs = ours + [Run(method, FIRST_SEED, decided_by[method]) for method in BASELINES]
    done = finished(workspace)
    missing = [(workspace, run) for run in runs if run not in done]
    add_rows(runs_file(workspace), train_once, missing)
    done = finished(workspace)
    found: dict[str, Measured] = {
        method: {
            column: [float(done[run][column]) for run in runs if run.method == method]
            for column in (*LOWEST, *HIGHEST)
        }
        for method in (*RECIPES, *BASELINES)
    }
    precisions = Counter(done[run]["precision"] for run in ours)
    gate = load_params(workspace.params).gate
    text = show(found, precisions, gate)
    if seeds < SEEDS:
        print(text)
        return
    accuracies, others = (
        {name: {column: of[column] for column in columns} for name, of in found.items()}
        for columns in (ACCURACIES, [RECALL, *HIGHEST])
    )
    result = {
        "gate": gate.min_accuracy,
        "precisions": precisions,
        "accuracy": accuracies,
        "behaviour": others,
    }
    write_report(workspace, "accuracy", result, text, ["scipy", "scikit-learn"])


def runs_file(workspace: Workspace) -> Path:
    """The path of the table of trainings."""
    return reports(workspace) / "accuracy.csv"


def finished(workspace: Workspace) -> dict[Run, dict[str, str]]:
    """The rows of the table so far."""
    rows = read_rows(runs_file(workspace))
    return {Run(row["method"], int(row["seed"]), row["decided_by"]): row for row in rows}


def deciding(workspace: Workspace, method: str) -> str:
    """A digest of recipe, code and data: everything except the seed that affects a row."""
    recipe: dict[str, Any] = {}
    names = BASELINE_CODE
    if method in RECIPES:
        recipe = asdict(load_recipe(workspace, RECIPES[method], seed=0))
        names = [*code_digests(task_of(workspace))]
    code = sorted(code_digest(PROJECT / name) for name in [*names, *MEASURING_CODE])
    return digest(recipe, code, sha256(workspace.training_set), sha256(workspace.test_set))


def train_once(workspace: Workspace, run: Run) -> dict[str, Any]:
    """Train on all training images, measure the exported last epoch; the row of the table."""
    images, labels = read_set(workspace.training_set)
    method = methods(workspace)[run.method]
    for network in islice(method.start(images, labels, run.seed), method.epochs):
        trained = network
    path = export(workspace, trained, f"{file_name(run.method)}-{run.seed}")
    return row_of(workspace, run, path)


def row_of(workspace: Workspace, run: Run, path: Path) -> dict[str, Any]:
    """The row of a network that was exported to `path`.

    It includes what the gate bounds, 0..1, on the test set.
    """
    test, model = read_tensors(workspace.test_set), OnnxModel(path)
    images, labels = test["images"], test["labels"]

    probabilities = model.run(images).probabilities

    def classify(images: Images) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = model.run(images).logits.argmax(1)
        return classes

    summary = summarise(probabilities, labels)
    distorted = distorted_accuracy(classify, images, labels)
    changed = changed_predictions(classify, images, probabilities.argmax(1))
    return {
        **run._asdict(),
        "precision": precision(workspace, run.method),
        **dict(zip(ACCURACIES, [summary.accuracy, *distorted.values()], strict=True)),
        RECALL: summary.lowest_recall,
        CALIBRATION: summary.expected_calibration_error,
        **dict(zip(CHANGES, changed.values(), strict=True)),
    }


def precision(workspace: Workspace, method: str) -> str:
    """The precision in which this machine trains by the method."""
    if method not in RECIPES:
        return "float32"
    chosen = choose_precision(load_recipe(workspace, RECIPES[method]).precision, CPU)
    return str(chosen).removeprefix("torch.")


def thresholds(gate: Gate) -> dict[str, float]:
    """The gate's thresholds, by column of the table."""
    return {
        UNDISTORTED: gate.min_accuracy,
        **{DISTORTIONS[name].title: least for name, least in gate.min_distorted_accuracy.items()},
        RECALL: gate.min_recall,
        CALIBRATION: gate.max_calibration_error,
        **{
            f"{NUDGES[name].title}: changed predictions": most
            for name, most in gate.max_changed_predictions.items()
        },
    }


def show(found: dict[str, Measured], precisions: dict[str, int], gate: Gate) -> str:
    """The report: spread over seeds, accuracy by distortion, and the worst of the seeds."""
    rows = []
    for name, measured in found.items():
        plain = measured[UNDISTORTED]
        passed = sum(accuracy >= gate.min_accuracy for accuracy in plain)
        deviation = f"{stdev(plain):.3%}" if len(plain) > 1 else ""
        rows.append([name, len(plain), f"{mean(plain):.3%}", deviation, f"{min(plain):.2%}",
                     f"{max(plain):.2%}", f"{passed} of {len(plain)}"])  # fmt: skip
    over_seeds = table(
        ["test set", "seeds", "mean", "standard deviation", "lowest", "highest",
         f"at least {gate.min_accuracy:.1%}"], rows,
    )  # fmt: skip
    distorted = table(
        ["test accuracy, mean over seeds", *found],
        [
            [column, *(f"{mean(measured[column]):.2%}" for measured in found.values())]
            for column in ACCURACIES
        ],
    )
    required, worst = thresholds(gate), []
    for relation, most_extreme, columns in (("≥", min, LOWEST), ("≤", max, HIGHEST)):
        for column in columns:
            bound = f"{relation} {required[column]:.1%}" if column in required else ""
            extremes = [f"{most_extreme(measured[column]):.2%}" for measured in found.values()]
            worst.append([column, bound, *extremes])
    worst_of_seeds = table(["worst of the seeds", "the gate requires", *found], worst)
    trained = " and ".join(f"{count} times in {name}" for name, count in precisions.items())
    return (
        f"{over_seeds}\n\n{distorted}\n\n{worst_of_seeds}\n\n"
        f"Measured on the exported last epochs in ONNX Runtime; our trainings ran {trained} "
        "([accuracy.csv](accuracy.csv)). Every column is measured on the same distorted images. "
        f"{SAME_KINDS}"
    )
