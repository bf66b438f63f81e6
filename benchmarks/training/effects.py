"""The effect of each ablation, from the table of trainings; uses the standard library only."""

from itertools import chain
from math import nan
from statistics import mean
from typing import NamedTuple

CHOSEN = "as chosen"
DISTORTIONS = 6  # the last columns of the table

Rows = list[dict[str, str]]


class Effect(NamedTuple):
    """The effect of an ablation over the seeds that have been trained."""

    seeds: int
    errors: float  # among the held-out images
    differences: list[int]  # in errors from the chosen recipe, seed by seed
    distorted_difference: float  # likewise on distorted images, mean over seeds and distortions


def effects(rows: Rows, epochs: int) -> dict[str, Effect]:
    """The effect of each ablation in trainings of `epochs` epochs, the fewest errors first."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        if int(row["epochs"]) == epochs:
            found.setdefault(row["ablation"], {})[row["seed"]] = row
    chosen = found.get(CHOSEN, {})
    distorted = list(rows[0])[-DISTORTIONS:] if rows else []
    result = {}
    for name, by_seed in found.items():
        pairs = [(row, chosen[seed]) for seed, row in by_seed.items() if seed in chosen]
        differences = [
            [int(row[column]) - int(base[column]) for row, base in pairs]
            for column in ("validation_errors", *distorted)
        ]
        result[name] = Effect(
            len(by_seed),
            mean(int(row["validation_errors"]) for row in by_seed.values()),
            differences[0],
            mean(chain(*differences[1:])) if pairs else nan,
        )
    return dict(sorted(result.items(), key=lambda pair: pair[1].errors))
