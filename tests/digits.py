"""A small set of printed digits in MNIST's format, for tests and `make smoke`."""

import gzip
import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core import idx

Images = NDArray[np.uint8]


def make_digits(count: int, seed: int) -> tuple[Images, Images]:
    """Printed digits, slightly rotated and shifted: images, uint8 [count, 28, 28], and labels."""
    images, labels = _digits(count, seed)
    return images.copy(), labels.copy()


def write_mirror(folder: Path, training: int, test: int) -> dict[str, str]:
    """Write the four files into `folder`; returns the SHA-256 of each."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for prefix, count, seed in (("train", training, 1), ("t10k", test, 2)):
        images, labels = make_digits(count, seed)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{prefix}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(idx.encode(array), mtime=0))
            digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


@cache  # the same for every workspace
def _digits(count: int, seed: int) -> tuple[Images, Images]:
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    return np.stack([_draw(int(label), random) for label in labels]), labels


def _draw(digit: int, random: np.random.Generator) -> Images:
    picture = Image.new("L", (28, 28))
    font = ImageFont.load_default(size=int(random.integers(20, 25)))
    left, top = random.integers(-2, 3, 2)
    ImageDraw.Draw(picture).text((14 + left, 14 + top), str(digit), 255, font, "mm")
    rotated = picture.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR)
    return np.asarray(rotated)
