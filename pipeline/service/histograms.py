"""Histograms in shared memory: a count per bucket, the count beyond all buckets, and the sum."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString


def add(row: NDArray[np.float64], bucket: int, value: float) -> None:
    """Count a value in a bucket."""
    row[bucket] += 1
    row[-1] += value


def histogram(
    bounds: Sequence[float], row: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """Prometheus's cumulative buckets, and the sum, of a histogram in a row."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, row[:-1].cumsum().tolist(), strict=True)), float(row[-1])
