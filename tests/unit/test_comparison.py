"""McNemar's test of two models."""

import numpy as np
import pytest

from pipeline.evaluation.comparison import mcnemar


@pytest.mark.parametrize(
    ("only_old", "only_new", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 2**5),
        (0, 6, 2 / 2**6),
        (7, 1, 2 * (1 + 8) / 2**8),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
        (12, 2, 2 * (1 + 14 + 91) / 2**14),  # 0.0129 in Armitage and Berry 1994, p. 127
    ],
)
def test_mcnemar_is_exact_and_two_sided(only_old: int, only_new: int, p_value: float) -> None:
    """Images that both models classify correctly, or both misclassify, do not count."""
    old = np.array([True] * only_old + [False] * only_new + [True] * 30 + [False] * 4)
    new = np.array([False] * only_old + [True] * only_new + [True] * 30 + [False] * 4)
    result = mcnemar(old, new)
    assert (result["only_old_right"], result["only_new_right"]) == (only_old, only_new)
    assert result["p_value"] == pytest.approx(p_value) == mcnemar(new, old)["p_value"]
