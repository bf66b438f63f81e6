"""Copies among collected images: exact ones, and near ones by their perceptual hashes."""

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.hashes import Images, digests, near_pairs


def originals(images: Images, limit: int) -> NDArray[np.int64]:
    """For each image [N], the index of the image that it is a copy of: its own, if it is none.

    Images come in the order of their age: a later image never changes what an earlier one is. A
    copy of a copy is not a copy unless it resembles the original too. `limit`: bits of the
    perceptual hash in which copies may differ.
    """
    found = np.arange(len(images))
    first: dict[bytes, int] = {}
    exact = [first.setdefault(row.tobytes(), number) for number, row in enumerate(digests(images))]
    distinct = np.array(sorted(first.values()), np.int64)
    pairs: dict[int, list[int]] = {}
    for earlier, later in distinct[near_pairs(images[distinct], limit)]:
        pairs.setdefault(int(later), []).append(int(earlier))
    for later in sorted(pairs):
        found[later] = next((n for n in sorted(pairs[later]) if found[n] == n), later)
    return found[np.array(exact, np.int64)]
