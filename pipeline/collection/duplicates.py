"""Copies among collected images: exact ones, and near ones by their perceptual hashes."""

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.hashes import BLOCK, Images, digests, near, perceptual_hashes


def originals(images: Images, limit: int) -> NDArray[np.int64]:
    """For each image [N], the index of the image that it is a copy of: its own, if it is none.

    Images come in the order of their age: a later image never changes what an earlier one is. A
    copy of a copy is not a copy unless it resembles the original too. `limit`: bits of the
    perceptual hash in which copies may differ. The memory does not grow with the number of copies.
    """
    first: dict[bytes, int] = {}
    exact = [first.setdefault(row.tobytes(), number) for number, row in enumerate(digests(images))]
    distinct = np.array(sorted(first.values()), np.int64)
    hashes = perceptual_hashes(images)
    found, known = np.arange(len(images)), np.zeros(0, np.int64)  # known: the originals so far
    for start in range(0, len(distinct), BLOCK):
        block = distinct[start : start + BLOCK]
        candidates = np.concatenate([known, block])
        alike = near(images[block], hashes[candidates], limit)
        usable = np.arange(len(candidates)) < len(known)  # is known, or an original of the block
        for place, number in enumerate(block):
            earlier = np.flatnonzero(alike[place] & usable)
            if len(earlier):
                found[number] = candidates[earlier[0]]
            else:
                usable[len(known) + place] = True
        known = candidates[usable]
    return found[np.array(exact, np.int64)]
