"""The parts of `python -m benchmarks loop` that need no server."""

import random
from collections import Counter

import numpy as np
import pytest

from benchmarks.loop.chaos import VICTIMS, plan
from benchmarks.loop.ending import EXPECTED, Ending, check
from benchmarks.loop.shifts import NO_DIGIT, SHIFTS, known_hand
from pipeline.core.errors import UserError


def test_every_kind_of_victim_is_killed_as_often_as_the_others() -> None:
    kills = plan(2 * len(VICTIMS) + 1, random.Random(1))
    assert set(kills[: len(VICTIMS)]) == set(VICTIMS)
    assert sorted(Counter(kills).values()) == [2, 2, 2, 2, 3]
    assert plan(11, random.Random(1)) == kills


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_differs_from_the_known_hand(shift: str) -> None:
    known, (images, truth) = known_hand(20, 1), SHIFTS[shift](20, 1)
    assert images.shape == known.images.shape
    assert images.dtype == np.uint8
    assert not (images == known.images).all((1, 2)).any()
    assert truth == (known.truth if shift == "hand" else [NO_DIGIT] * 20)


@pytest.mark.parametrize("shift", SHIFTS)
def test_any_other_ending_is_an_error(shift: str) -> None:
    right = Ending(1, 1, 0, 1, 1, 100, 10)._replace(**EXPECTED[shift])
    check(right, shift)
    for name, value in EXPECTED[shift].items():
        with pytest.raises(UserError, match=name):
            check(right._replace(**{name: value + 1}), shift)
