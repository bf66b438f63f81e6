"""Input drift: the brightness of recent images, compared with the training images."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.images import Images

RECENT, ENOUGH = 1000, 100  # maximum and minimum number of images to measure drift on
RECENT_IMAGES = np.dtype(  # of one process, in a ring
    [("seconds", float, RECENT), ("bins", np.int64, RECENT), ("added", np.int64, 1)]
)


class Drift:
    """The distribution of the mean pixel of recent images, compared with the training images."""

    def __init__(
        self, deciles: Sequence[float], rows: NDArray[Any] | None = None, process: int = 0
    ) -> None:
        """`deciles`: the nine deciles of the training images' mean pixel.

        `rows`: RECENT_IMAGES of each process of the service; this process writes that at `process`.
        """
        self._deciles = np.asarray(deciles)
        self._rows = np.zeros(1, RECENT_IMAGES) if rows is None else rows
        own = self._rows[process]
        self._seconds, self._bins, self._added = own["seconds"], own["bins"], own["added"]

    def add(self, images: Images) -> None:
        """Add the images [N, H, W] of a request. Not safe to use from several threads."""
        last = images[-RECENT:].reshape(-1, images[0].size)
        bins = np.searchsorted(self._deciles, last.sum(1) / last.shape[1])
        added, now = int(self._added[0]), time.time()
        for place, number in enumerate(bins.tolist(), added):
            self._bins[place % RECENT] = number
            self._seconds[place % RECENT] = now
        self._added[0] = added + len(bins)

    def index(self) -> float:
        """The population stability index, Σ (p − q) ln(p / q) over the ten bins; NaN if there are
        too few images.

        Half an image is added to each bin, so that none is empty.
        """
        seconds, bins = self._rows["seconds"].ravel(), self._rows["bins"].ravel()
        last = np.argsort(seconds)[-RECENT:]
        last = last[seconds[last] > 0]
        if len(last) < ENOUGH:
            return float("nan")
        expected = 1 / (len(self._deciles) + 1)
        counts = np.bincount(bins[last], minlength=len(self._deciles) + 1) + 0.5
        shares = counts / counts.sum()
        return float(((shares - expected) * np.log(shares / expected)).sum())
