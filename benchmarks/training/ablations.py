"""python -m benchmarks ablations: how the recipe was chosen, on held-out training images.

Trains the recipe and each ablation of benchmarks/training/alternatives.py with each seed on the
first 50,000 training images, on all cores with one thread per training, and measures the averaged
weights of the last epoch on the other 10,000. It does not read the test set.

Every finished training is a row of reports/recipe/runs.csv and is not repeated, so an interrupted
command resumes. If the recipe in params.yaml changes, all trainings run again. The tables go to
reports/recipe/ablations.md.
"""

import argparse
from dataclasses import asdict, replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.models import read_set, task_of
from benchmarks.tables import table
from benchmarks.training.alternatives import ABLATIONS, Ablation
from benchmarks.training.effects import Rows, effects
from benchmarks.training.runs import add_rows, digest, read_rows
from pipeline.config import load_params
from pipeline.core.files import write_text
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.training.measuring import measure
from pipeline.training.recipe import Recipe

HELD_OUT = 10_000
DISTORTED = 5_000  # of them, each distorted in six ways
DISTORTED_COLUMNS = [distort.title for distort in DISTORTIONS.values()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("names", nargs="*", metavar="ABLATION", help="(default: all)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])


def main(workspace: Workspace, names: list[str], epochs: int, seeds: list[int]) -> None:
    """Train what is missing, then write the tables."""
    rows = current_rows(workspace)
    done = {(row["ablation"], int(row["seed"]), int(row["epochs"])) for row in rows}
    asked = [(name, seed, epochs) for seed in seeds for name in names or ABLATIONS]
    missing = [(workspace, *training) for training in asked if training not in done]
    add_rows(runs_file(workspace), train_once, missing)
    text = (
        f"Errors on {HELD_OUT:,} held-out training images, and per {HELD_OUT:,} of these images "
        f"distorted as in reports/benchmarks/accuracy.md (measured on {DISTORTED:,}). Means over "
        "seeds; ± is the standard error of the difference from the chosen recipe with the same "
        "seed. All trainings: [runs.csv](runs.csv). The ablations: "
        "[alternatives.py](../../benchmarks/training/alternatives.py)."
    )
    tables = summarise(current_rows(workspace))
    write_text(runs_file(workspace).with_name("ablations.md"), f"{text}\n\n{tables}\n")


def runs_file(workspace: Workspace) -> Path:
    """The path of the table of trainings."""
    return workspace.root / "reports/recipe/runs.csv"


def recipe_of(
    chosen: Recipe, ablation: Ablation, seed: int, epochs: int, validation_size: int
) -> Recipe:
    """The recipe of an ablation's training."""
    fixed = {"seed": seed, "epochs": epochs, "validation_size": validation_size}
    return replace(chosen, **{**ablation.changes, **fixed})


def base(chosen: Recipe) -> str:
    """A digest of the recipe that ablations change, without what differs between trainings."""
    return digest(asdict(recipe_of(chosen, Ablation(), seed=0, epochs=1, validation_size=0)))


def current_rows(workspace: Workspace) -> Rows:
    """The finished trainings that belong to the current recipe of params.yaml."""
    current = base(load_params(workspace.params).train)
    return [row for row in read_rows(runs_file(workspace)) if row["base"] == current]


def train_once(workspace: Workspace, name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Train an ablation once; returns its row of the table."""
    chosen, ablation = load_params(workspace.params).train, ABLATIONS[name]
    images, labels = read_set(workspace.training_set)
    task, recipe = task_of(workspace), recipe_of(chosen, ablation, seed, epochs, HELD_OUT)
    trainer = ablation.trainer(task, images, labels, recipe)
    for number in range(1, epochs + 1):
        figures = trainer.epoch(number).figures
    network = trainer.averaged_network()
    distorted = {}  # errors among HELD_OUT images
    for distort in DISTORTIONS.values():
        changed = torch.from_numpy(distort(images[-DISTORTED:].numpy()))
        _, accuracy = measure(task, network, changed, labels[-DISTORTED:].long())
        distorted[distort.title] = round((1 - accuracy) * HELD_OUT)
    return {
        "base": base(chosen),
        "ablation": name,
        "epochs": epochs,
        "seed": seed,
        "validation_errors": round((1 - figures["validation_accuracy"]) * HELD_OUT),
        "validation_loss": round(figures["validation_loss"], 6),
        "training_accuracy": round(figures["training_accuracy"], 6),
        **distorted,
    }


def summarise(rows: Rows) -> str:
    """A table per number of epochs: errors on the held-out images, and the differences."""
    tables = []
    for epochs in sorted({int(row["epochs"]) for row in rows}):
        lines = []
        for name, effect in effects(rows, epochs).items():
            those = [r for r in rows if (r["ablation"], int(r["epochs"])) == (name, epochs)]
            more = effect.differences
            error = f" ± {stdev(more) / sqrt(len(more)):.1f}" if len(more) > 1 else ""
            lines.append(
                [
                    name,
                    effect.seeds,
                    f"{effect.errors:.1f}",
                    f"{mean(more):+.1f}{error}" if more else "",
                    f"{mean(float(row['validation_loss']) for row in those):.4f}",
                    f"{mean(float(row['training_accuracy']) for row in those):.2%}",
                    *(f"{mean(float(row[c]) for row in those):.0f}" for c in DISTORTED_COLUMNS),
                ]
            )
        headers = [
            f"{epochs} epochs", "seeds", "errors", "difference from chosen",
            "loss", "training accuracy", *DISTORTED_COLUMNS,
        ]  # fmt: skip
        tables.append(table(headers, lines))
    return "\n\n".join(tables)
