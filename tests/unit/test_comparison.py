"""The comparison of two models, and how far releases can slip under the release rule."""

import numpy as np
import pytest

from benchmarks.pipeline import rule as simulation
from pipeline.config import load_params
from pipeline.evaluation.comparison import Paired, upper_bound
from tests.checkout import PROJECT

RULE = load_params(PROJECT / "params.yaml").release


def test_images_are_counted_by_who_is_right() -> None:
    old = np.array([1, 1, 1, 0, 0, 1, 1], bool)
    new = np.array([1, 0, 0, 1, 0, 1, 1], bool)
    paired = Paired.of(old, new)
    assert paired == (3, 2, 1, 1)
    assert paired.difference == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("paired", "bound"),
    [
        (Paired(36, 12, 2, 0), 0.3404),  # Newcombe 1998, table III, method 10, example (b)
        (Paired(36, 2, 12, 0), -0.0569),
        (Paired(53, 1, 0, 0), 0.0975),
        (Paired(80, 8, 8, 4), 0.0841),  # by hand, with a correlation of (320 - 64 - 50) / 1056
    ],
)
def test_the_bound_is_that_of_newcombe(paired: Paired, bound: float) -> None:
    """One-sided at 2.5 %, so that it is the end of his interval of 95 %."""
    assert upper_bound(paired, 0.025) == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize("discordant", [20, 40])
def test_the_bound_covers_the_true_difference(discordant: int) -> None:
    """With samples of two models whose error rates differ by the margin."""
    random, margin, level = np.random.default_rng(1), 0.003, 0.05
    share = discordant / 10_000
    rates = [0.993 - share / 2, share / 2 + margin, share / 2, 0.004]
    counts = random.multinomial(10_000, np.array(rates) / sum(rates), 2000)
    below = np.mean([upper_bound(Paired(*map(int, each)), level) < margin for each in counts])
    assert below < 1.4 * level


@pytest.mark.parametrize("seed", range(3))
def test_slightly_worse_candidates_lose_at_most_the_margin_in_all(seed: int) -> None:
    lost = simulation.slip(simulation.release_rule(RULE), 200, seed)
    assert lost["true_loss"] <= RULE.margin
    assert lost["loss_on_test_set"] <= RULE.margin
    assert lost["released"] > 0  # the rule is not just strict
    by_mcnemar = simulation.slip(simulation.mcnemar, 200, seed)
    assert by_mcnemar["true_loss"] > 10 * RULE.margin


def test_an_equally_good_model_usually_passes() -> None:
    """With as many discordant images as trainings of the same recipe have."""
    level = RULE.alpha / RULE.looks
    assert all(simulation.power(count, RULE.margin, level) > 0.8 for count in (20, 30, 40))
