"""Images that are never collected: those of the test set, and those that train already."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pipeline.collection.hashes import (
    Digests,
    Hashes,
    Images,
    digests,
    distances,
    perceptual_hashes,
)
from pipeline.core.files import read_tensors, write_bytes


@dataclass(frozen=True)
class KnownImages:
    """Digests and perceptual hashes of images; no pixels."""

    digests: Digests
    hashes: Hashes

    @classmethod
    def of(cls, images: Images) -> Self:
        """Those of these images."""
        return cls(digests(images), perceptual_hashes(images))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file that `write` wrote. UserError if it is missing or broken."""
        content = read_tensors(path)
        return cls(content["digests"], content["hashes"])

    def write(self, path: Path) -> None:
        """Write a safetensors file: `digests`, uint8 [N, 32], and `hashes`, uint64 [N, words]."""
        write_bytes(path, save({"digests": self.digests, "hashes": self.hashes}))

    def match(self, images: Images, limit: int) -> NDArray[np.bool_]:
        """Whether each image is one of these, or near one: up to `limit` bits differ."""
        return same(images, self.digests) | (distances(images, self.hashes) <= limit)


def same(images: Images, known: Digests) -> NDArray[np.bool_]:
    """Whether the pixels of each image are exactly those of one with a known digest."""
    listed = {row.tobytes() for row in known}
    return np.array([row.tobytes() in listed for row in digests(images)], bool)
