"""Input drift: the brightness of recent images, compared with the training images."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.images import Images

RECENT, ENOUGH = 1000, 100  # maximum and minimum number of images to measure drift on
RECENT_IMAGES = np.dtype(  # of one process, in a ring
    [("seconds", float, RECENT), ("means", float, RECENT), ("added", np.int64, 1)]
)


class Drift:
    """The distribution of the mean pixel of recent images, compared with the training images."""

    def __init__(self, rows: NDArray[Any] | None = None, process: int = 0) -> None:
        """`rows`: RECENT_IMAGES of each process of the service; this process writes that at
        `process`."""
        self._rows = np.zeros(1, RECENT_IMAGES) if rows is None else rows
        own = self._rows[process]
        self._seconds, self._means, self._added = own["seconds"], own["means"], own["added"]

    def add(self, images: Images) -> None:
        """Add the images [N, H, W] of a request. Not safe to use from several threads."""
        last = images[-RECENT:].reshape(-1, images[0].size)
        means = last.sum(1) / last.shape[1]
        added, now = int(self._added[0]), time.time()
        for place, mean in enumerate(means.tolist(), added):
            self._means[place % RECENT] = mean
            self._seconds[place % RECENT] = now
        self._added[0] = added + len(means)

    def index(self, deciles: Sequence[float]) -> float:
        """The population stability index, Σ (p − q) ln(p / q) over the ten bins; NaN if there are
        too few images.

        `deciles`: the nine deciles of the training images' mean pixel, which bound the bins. Half
        an image is added to each bin, so that none is empty.
        """
        seconds, means = self._rows["seconds"].ravel(), self._rows["means"].ravel()
        last = np.argsort(seconds)[-RECENT:]
        last = last[seconds[last] > 0]
        if len(last) < ENOUGH:
            return float("nan")
        expected = 1 / (len(deciles) + 1)
        bins = np.searchsorted(np.asarray(deciles), means[last])
        counts = np.bincount(bins, minlength=len(deciles) + 1) + 0.5
        shares = counts / counts.sum()
        return float(((shares - expected) * np.log(shares / expected)).sum())
