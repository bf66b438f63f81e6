"""python -m benchmarks.recipe: how the recipe was chosen, by images held out of the training set.

Trains each candidate of benchmarks/candidates.py with each seed on the first 50,000 training
images, as many at once as there are cores, one thread each, and measures the averaged weights of
the last epoch on the other 10,000. The test set is not read. Every finished run is a row of
reports/recipe/runs.csv; runs that are there already are not done again, so that the command can be
stopped and started, but for those around another recipe than params.yaml has now. From them come
reports/recipe/candidates.md.
"""

import argparse
from dataclasses import asdict, replace
from itertools import chain
from math import nan, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.candidates import CANDIDATES, CHOSEN, Candidate
from benchmarks.distortions import DISTORTIONS
from benchmarks.report import table
from benchmarks.trainings import add_rows, digest, read_rows
from pipeline.config import load_params
from pipeline.core.files import read_tensors, write_text
from pipeline.core.paths import TRAIN
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import measure

RUNS = Path("reports/recipe/runs.csv")
HELD_OUT = 10_000
DISTORTED = 5_000  # of them, each distorted in six ways
DISTORTED_WAYS = list(DISTORTIONS)[1:]

Rows = list[dict[str, str]]


def recipe_of(candidate: Candidate, seed: int, epochs: int, validation_size: int) -> Recipe:
    """The parameters of a candidate's training."""
    about = {"seed": seed, "epochs": epochs, "validation_size": validation_size}
    return replace(load_params().train, **{**candidate.changes, **about})


def base() -> str:
    """A digest of the recipe that the candidates change, less what differs between its runs."""
    return digest(asdict(recipe_of(CANDIDATES[CHOSEN], seed=0, epochs=1, validation_size=0)))


def current_runs() -> Rows:
    """The finished runs around the recipe that params.yaml has now."""
    current = base()
    return [run for run in read_rows(RUNS) if run["base"] == current]


def train_once(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """One training of a candidate; the row of the table of runs."""
    candidate, around = CANDIDATES[name], base()  # params.yaml may be another one in the end
    recipe = recipe_of(candidate, seed, epochs, HELD_OUT)
    data = read_tensors(TRAIN)
    images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    trainer = candidate.trainer(images, labels, recipe)
    for number in range(1, epochs + 1):
        figures = trainer.epoch(number, lambda *batch: None).figures
    distorted = {}  # mistakes of as many images
    for distortion in DISTORTED_WAYS:
        changed = DISTORTIONS[distortion](data["images"][-DISTORTED:], np.random.default_rng(1))
        _, accuracy = measure(
            trainer.average.module, torch.from_numpy(changed), labels[-DISTORTED:].long()
        )
        distorted[distortion] = round((1 - accuracy) * HELD_OUT)
    return {
        "base": around,
        "candidate": name,
        "epochs": epochs,
        "seed": seed,
        "validation_mistakes": round((1 - figures["validation_accuracy"]) * HELD_OUT),
        "validation_loss": round(figures["validation_loss"], 6),
        "training_accuracy": round(figures["training_accuracy"], 6),
        **distorted,
    }


class Effect(NamedTuple):
    """What a candidate's change does, over the seeds that have been trained."""

    seeds: int
    mistakes: float  # of the held-out images
    more: list[int]  # mistakes than as chosen, seed by seed
    more_distorted: float  # likewise on distorted images, mean over seeds and distortions


def effects(runs: Rows, epochs: int) -> dict[str, Effect]:
    """The effect of each candidate in trainings of so many epochs, the least mistakes first."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for run in runs:
        if int(run["epochs"]) == epochs:
            found.setdefault(run["candidate"], {})[run["seed"]] = run
    chosen = found.get(CHOSEN, {})
    result = {}
    for name, by_seed in found.items():
        pairs = [(run, chosen[seed]) for seed, run in by_seed.items() if seed in chosen]
        differences = [
            [int(run[column]) - int(base[column]) for run, base in pairs]
            for column in ("validation_mistakes", *DISTORTED_WAYS)
        ]
        result[name] = Effect(
            len(by_seed),
            mean(int(run["validation_mistakes"]) for run in by_seed.values()),
            differences[0],
            mean(chain(*differences[1:])) if pairs else nan,
        )
    return dict(sorted(result.items(), key=lambda pair: pair[1].mistakes))


def summarise(runs: Rows) -> str:
    """A table for each number of epochs: mistakes on the held-out images, beside the chosen's."""
    parts = []
    for epochs in sorted({int(run["epochs"]) for run in runs}):
        rows = []
        for name, effect in effects(runs, epochs).items():
            those = [r for r in runs if (r["candidate"], int(r["epochs"])) == (name, epochs)]
            more = effect.more
            error = f" ± {stdev(more) / sqrt(len(more)):.1f}" if len(more) > 1 else ""
            rows.append(
                [
                    name,
                    effect.seeds,
                    f"{effect.mistakes:.1f}",
                    f"{mean(more):+.1f}{error}" if more else "",
                    f"{mean(float(run['validation_loss']) for run in those):.4f}",
                    f"{mean(float(run['training_accuracy']) for run in those):.2%}",
                    *(f"{mean(float(run[way]) for run in those):.0f}" for way in DISTORTED_WAYS),
                ]
            )
        headers = [
            f"{epochs} epochs", "seeds", "mistakes", "more than as chosen",
            "loss", "training accuracy", *DISTORTED_WAYS,
        ]  # fmt: skip
        parts.append(table(headers, rows))
    return "\n\n".join(parts)


def main(names: list[str], epochs: int, seeds: list[int]) -> None:
    """Do what is not done yet, then write the tables."""
    done = {(run["candidate"], int(run["seed"]), int(run["epochs"])) for run in current_runs()}
    wanted = [(name, seed, epochs) for seed in seeds for name in names]
    add_rows(RUNS, train_once, [run for run in wanted if run not in done])
    text = (
        f"Mistakes of {HELD_OUT:,} training images that were held out, and in {HELD_OUT:,} of them "
        f"distorted (as in reports/benchmarks/accuracy.md; measured on {DISTORTED:,}); means over "
        "seeds, ± the standard error of the difference to the same seed as chosen. Every run: "
        f"[{RUNS.name}]({RUNS.name}). What the candidates are: "
        "[candidates.py](../../benchmarks/candidates.py)."
    )
    write_text(RUNS.with_name("candidates.md"), f"{text}\n\n{summarise(current_runs())}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("candidates", nargs="*", help="names; all if none is given")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    main(arguments.candidates or list(CANDIDATES), arguments.epochs, arguments.seeds)
