"""python -m benchmarks rule: how often the release rule passes a model, and how far it can slip.

A simulation without any model: answers to a test set that are right or wrong.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from benchmarks.report import write_report
from benchmarks.tables import table
from pipeline.config import Release, load_params
from pipeline.core.release_report import PROMOTED
from pipeline.core.workspace import Workspace
from pipeline.evaluation.comparison import Paired, upper_bound
from pipeline.registry.baselines import BEST, CHAMPION, Baseline
from pipeline.registry.rule import compare, conclude

IMAGES, ERRORS = 10_000, 43  # test images, and errors of the first champion
HARD = 66  # images that a training gets wrong by chance: two trainings have 30 discordant images
WORSE = 0.0003  # error rate of each candidate beyond that of the champion which it replaces
CANDIDATES, TRIALS, SEED = 200, 50, 1
LOOKS, MARGINS = (1, 5, 20), (0.001, 0.002, 0.003)
Right = NDArray[np.bool_]
Passes = Callable[[int, Right, Right, Right], bool]  # look, champion, best, candidate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"simulations ({TRIALS})")


def main(workspace: Workspace, trials: int) -> None:
    """Simulate and write the report."""
    params = load_params(workspace.params).release
    result = {
        "images": IMAGES,
        "alpha": params.alpha,
        "power": [
            {"discordant": count, "looks": looks, "margin": margin}
            | {"passes": power(count, margin, params.alpha / looks)}
            for count in (10, 20, 30, 40, 50, 60)
            for looks in LOOKS
            for margin in MARGINS
        ],
        "slip": {
            "candidates": CANDIDATES,
            "worse": WORSE,
            "margin": params.margin,
            "looks": params.looks,
            "trials": trials,
            "rule": summarise(release_rule(params), trials),
            "mcnemar": summarise(mcnemar, trials),
        },
    }
    write_report(workspace, "rule", result, show(result), ["scipy"])


def power(discordant: int, margin: float, level: float) -> float:
    """The probability that a model which is exactly as good as the baseline passes.

    Given the number of discordant images, those that only one of both models gets right.
    """
    both = IMAGES - ERRORS - discordant // 2
    return float(
        sum(
            binom.pmf(only_old, discordant, 0.5)
            for only_old in range(discordant + 1)
            if upper_bound(
                Paired(
                    both,
                    only_old,
                    discordant - only_old,
                    IMAGES - both - discordant,
                ),
                level,
            )
            < margin
        )
    )


def release_rule(params: Release) -> Passes:
    """The rule of the stage `release`."""

    def passes(look: int, champion: Right, best: Right, candidate: Right) -> bool:
        if look > params.looks:
            return False
        comparisons = [
            compare(Baseline(title, Path(), "", None), right, candidate, params)
            for title, right in ((CHAMPION, champion), (BEST, best))
        ]
        return conclude(comparisons)[0] in PROMOTED

    return passes


def mcnemar(look: int, champion: Right, best: Right, candidate: Right) -> bool:
    """Refuse only a model that is significantly worse than the last, by McNemar's exact test."""
    paired = Paired.of(champion, candidate)
    discordant = paired.only_old + paired.only_new
    worse = paired.only_old > paired.only_new
    return not (worse and binomtest(paired.only_old, discordant).pvalue < 0.05)


def answers(random: np.random.Generator, worse: float) -> Right:
    """Which test images a model gets right whose error rate is `worse` than that of the first.

    Models of the same recipe get the same easy images right, and each of the HARD others by chance.
    """
    wrong = np.where(np.arange(IMAGES) < HARD, ERRORS / HARD, worse)
    return random.random(IMAGES) >= wrong


def slip(passes: Passes, candidates: int, seed: int) -> dict[str, float]:
    """Offer candidates, each a little worse than the champion of its time.

    Returns how many were released, and by how much the error rate of the last champion exceeds that
    of the first: truly, and on the test set.
    """
    random = np.random.default_rng(seed)
    champion = best = first = answers(random, 0)
    released = 0
    for look in range(1, candidates + 1):
        candidate = answers(random, (released + 1) * WORSE)
        if passes(look, champion, best, candidate):
            champion, released = candidate, released + 1
            best = max(best, champion, key=lambda right: int(right.sum()))
    return {
        "released": released,
        "true_loss": released * WORSE,
        "loss_on_test_set": float(first.mean() - champion.mean()),
    }


def summarise(passes: Passes, trials: int) -> dict[str, float]:
    """Mean and maximum over simulations with different seeds."""
    runs = [slip(passes, CANDIDATES, SEED + trial) for trial in range(trials)]
    return {
        "released": mean(run["released"] for run in runs),
        **{
            f"{which.__name__}_{name}": which(run[name] for run in runs)
            for name in ("true_loss", "loss_on_test_set")
            for which in (mean, max)
        },
    }


def show(result: dict[str, Any]) -> str:
    """The report as Markdown."""
    slip = result["slip"]
    return "\n\n".join(
        [
            "# The release rule, simulated",
            f"How often a model passes that is exactly as good as the baseline, on "
            f"{result['images']:,} test images, by margin and by the number of looks over which "
            f"alpha = {result['alpha']:g} is divided. Two trainings of the same recipe differ in "
            "20 to 40 discordant images, those that only one of them gets right.",
            power_table(result),
            f"{slip['candidates']} candidates, each {slip['worse']:.2%} worse than the champion of "
            f"its time, in {slip['trials']} simulations: how much accuracy is lost in all.",
            slip_table(result),
        ]
    )


def power_table(result: dict[str, Any]) -> str:
    """How often an equally good model passes, by discordant images, margin and looks."""
    cells = {
        (row["discordant"], row["looks"], row["margin"]): f"{row['passes']:.0%}"
        for row in result["power"]
    }
    columns = [(looks, margin) for margin in MARGINS for looks in LOOKS]
    return table(
        ["discordant images", *(f"{margin:.1%}, {_looks(looks)}" for looks, margin in columns)],
        [
            [count, *(cells[count, looks, margin] for looks, margin in columns)]
            for count in sorted({count for count, *_ in cells})
        ],
    )


def slip_table(result: dict[str, Any]) -> str:
    """What slightly worse candidates lose in all, under each rule."""
    slip = result["slip"]
    return table(
        ["rule", "released", "true loss, mean", "highest", "loss on the test set, mean", "highest"],
        [
            [
                title,
                f"{slip[name]['released']:.1f}",
                *(
                    f"{slip[name][key]:.2%}"
                    for key in (
                        *("mean_true_loss", "max_true_loss"),
                        *("mean_loss_on_test_set", "max_loss_on_test_set"),
                    )
                ),
            ]
            for name, title in (
                ("rule", f"not inferior by {slip['margin']:.1%}, {slip['looks']} looks"),
                ("mcnemar", "not significantly worse than the last (McNemar)"),
            )
        ],
    )


def _looks(number: int) -> str:
    return f"{number} look{'s' * (number > 1)}"
