"""Two-sample tests of many windows at once, each against the same reference.

A window is a row of `windows`, int [B, n]: the places of its n images among N. The reference has m
images. The windows may be drawn from the reference itself, to learn how the tests behave if nothing
has changed: then the rest of the reference, m - n images, is the second sample.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov
from scipy.stats import chi2, hypergeom

Floats = NDArray[np.floating]
Windows = NDArray[np.int64]
Counts = NDArray[np.int64] | int


def cumulative(reference: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The reference's distribution function at values, and its left limit there: each [D, N].

    `reference`: [m, D], `values`: [N, D]; each of the D columns is a variable.
    """
    right, left = (
        np.stack(
            [
                np.searchsorted(known, column, side)
                for known, column in zip(np.sort(reference, axis=0).T, values.T, strict=True)
            ]
        )
        / np.float32(len(reference))
        for side in ("right", "left")
    )
    return right.astype(np.float32), left.astype(np.float32)


def ks_distances(right: Floats, left: Floats, windows: Windows) -> Floats:
    """Kolmogorov-Smirnov's distance of each window from the reference, [B, D].

    `right`, `left`: what `cumulative` returns. The distance is the largest difference of the two
    distribution functions; the images of the window are the only places where it can be.
    """
    n = windows.shape[1]
    steps = np.arange(n + 1, dtype=np.float32) / n
    found = np.empty((len(windows), len(right)), np.float32)
    for number, (above, below) in enumerate(zip(right, left, strict=True)):
        over = (steps[1:] - np.sort(above[windows], axis=1)).max(1)
        under = (np.sort(below[windows], axis=1) - steps[:-1]).max(1)
        found[:, number] = np.maximum(over, under)
    return found


def ks_p_values(distances: Floats, n: int, m: int) -> Floats:
    """The p-values of Kolmogorov-Smirnov's distances between samples of n and m images.

    Those of the limit for large samples; ties make them larger than they have to be.
    """
    return np.asarray(kolmogorov(np.sqrt(n * m / (n + m)) * distances))


def holm(p_values: Floats) -> Floats:
    """The smallest p-value along the last axis after Holm's correction for its length."""
    return np.asarray(np.minimum(1.0, p_values.min(-1) * p_values.shape[-1]))


def median_distance(values: Floats) -> float:
    """The median distance between two rows of values, [N, D]: the bandwidth of the kernel."""
    squares = _squares(values, values)
    return float(np.sqrt(np.median(squares[np.triu_indices(len(values), 1)])))


def kernel(first: Floats, second: Floats, bandwidth: float) -> Floats:
    """The Gaussian kernel of each row of [N, D] with each of [M, D]: float32 [N, M]."""
    return np.asarray(np.exp(_squares(first, second) / np.float32(-2 * bandwidth**2)))


def _squares(first: Floats, second: Floats) -> Floats:
    lengths = (first**2).sum(1)[:, None] + (second**2).sum(1)
    return np.asarray(np.maximum(lengths - 2 * first @ second.T, 0))


def mmd_squares(
    own: Floats, to_reference: Floats, within_reference: float, windows: Windows
) -> Floats:
    """The squared maximum mean discrepancy of each window from the reference, [B].

    `own`: the kernel between the N images, [N, N]; `to_reference`: the mean of its values with the
    reference, [N]; `within_reference`: the mean within the reference. See Gretton et al. 2012, "A
    Kernel Two-Sample Test", equation 5.
    """
    n = windows.shape[1]
    found = np.empty(len(windows), np.float64)
    for start in range(0, len(windows), 1000):  # bounds the memory
        part = windows[start : start + 1000]
        counts = np.zeros((len(part), len(own)), np.float32)
        np.add.at(counts, (np.arange(len(part))[:, None], part), 1)
        within = ((counts @ own) * counts).sum(1, dtype=float) / n**2
        across = to_reference[part].mean(1, dtype=float)
        found[start : start + len(part)] = within - 2 * across + within_reference
    return found


def chi_square_p_values(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> Floats:
    """The p-values of the chi-square test that windows have the class mix of the reference, [B].

    `counts`: [B, classes]; `reference`: [classes] or [B, classes]. Classes without any image do
    not count.
    """
    reference = np.broadcast_to(reference, counts.shape)
    both = counts + reference
    n, m = counts.sum(1, keepdims=True), reference.sum(1, keepdims=True)
    differences = (np.sqrt(m / n) * counts - np.sqrt(n / m) * reference) ** 2
    statistic = (differences / np.maximum(both, 1)).sum(1)
    return np.asarray(chi2.sf(statistic, np.maximum((both > 0).sum(1) - 1, 1)))


def excess_p_values(counts: NDArray[np.int64], n: int, reference: Counts, m: int) -> Floats:
    """The p-values of Fisher's exact test that an event is not more frequent in windows, [B].

    `counts`: [B], of n images; `reference`: [] or [B], of m images.
    """
    pairs = np.stack([counts, np.broadcast_to(reference, counts.shape)], axis=1)
    distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)  # few, and slow to compute
    found = hypergeom.sf(distinct[:, 0] - 1, n + m, distinct.sum(1), n)
    return np.asarray(found)[inverse.ravel()]
