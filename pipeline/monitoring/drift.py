"""The tests for drift, on windows of images: has the input changed, whatever it is?"""

import numpy as np
from numpy.typing import NDArray

from pipeline.monitoring.reference import Measured, Reference
from pipeline.monitoring.statistics import (
    Floats,
    Windows,
    chi_square_p_values,
    excess_p_values,
    holm,
    ks_distances,
    ks_p_values,
    mmd_squares,
)

TESTS = {  # names, with titles
    "logits": "logits, each by Kolmogorov-Smirnov with Holm's correction",
    "mmd": "logits together, by maximum mean discrepancy",
    "classes": "predicted classes, by chi-square",
    "statistics": "image statistics, each by Kolmogorov-Smirnov with Holm's correction",
    "novelty": "images that show none of the classes, by Fisher's exact test",
}


def p_values(
    reference: Reference,
    measured: Measured,
    windows: Windows,
    mmd_null: Floats,
    *,
    own: bool = False,
) -> Floats:
    """The p-value of each of the TESTS for each window, [B, 5].

    `measured`: N images, from which `windows` [B, n] take theirs. `mmd_null`: what `mmd` returns
    for windows of the reference. `own`: the images are those of the reference itself; each window
    is then compared with the rest of it.
    """
    n, m = windows.shape[1], _others(reference, windows, own)
    known, found = reference.observations, measured.observations
    far = [ks_distances(*each, windows) for each in (measured.logits, measured.statistics)]
    logits, statistics = (holm(ks_p_values(each * _rest(reference, n, own), n, m)) for each in far)
    counts = class_counts(found.classes, windows, len(reference.class_counts))
    foreign = found.foreign[windows].sum(1)
    rest = reference.class_counts - counts if own else reference.class_counts
    foreign_rest = known.foreign.sum() - foreign if own else int(known.foreign.sum())
    exceeded = len(mmd_null) - np.searchsorted(
        np.sort(mmd_null), mmd(reference, measured, windows, own=own)
    )
    return np.stack(
        [
            logits,
            (exceeded + 1) / (len(mmd_null) + 1),
            chi_square_p_values(counts, rest),
            statistics,
            excess_p_values(foreign, n, foreign_rest, m),
        ],
        axis=1,
    )


def mmd(
    reference: Reference, measured: Measured, windows: Windows, *, own: bool = False
) -> NDArray[np.float64]:
    """The squared maximum mean discrepancy of each window, scaled by both sizes: [B].

    Scaled, its distribution without drift hardly depends on the sizes. `own`: see `p_values`.
    """
    n, m = windows.shape[1], _others(reference, windows, own)
    squares = mmd_squares(measured.own, measured.to_reference, reference.within, windows)
    return np.asarray(squares * _rest(reference, n, own) ** 2 * (n * m / (n + m)))


def class_counts(classes: NDArray[np.int64], windows: Windows, number: int) -> NDArray[np.int64]:
    """How often each of this number of classes is in each window, [B, number]."""
    places = classes[windows] + number * np.arange(len(windows))[:, None]
    return np.bincount(places.ravel(), minlength=number * len(windows)).reshape(-1, number)


def _others(reference: Reference, windows: Windows, own: bool) -> int:
    return len(reference) - (windows.shape[1] if own else 0)


def _rest(reference: Reference, n: int, own: bool) -> float:
    """How much farther a window of the reference is from the rest of it than from all of it."""
    return len(reference) / (len(reference) - n) if own else 1.0
