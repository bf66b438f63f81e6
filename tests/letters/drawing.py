"""Letters drawn with the fonts of matplotlib, and published in a folder."""

import hashlib
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.task import LabelledImages
from tests.letters import TASK

FONTS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"]
SIZE = 32
TRAINING_SEED, TEST_SEED = 1, 2


@cache
def draw(count: int, seed: int) -> LabelledImages:
    """Letters in random fonts, sizes and positions, slightly rotated."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % len(TASK.labels)).astype(np.uint8)
    return LabelledImages(np.stack([_draw(TASK.labels[n], random) for n in labels]), labels)


def write_mirror(folder: Path, training: int, test: int) -> dict[str, str]:
    """Write the two files into `folder`; returns the SHA-256 of each."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, count, seed in (
        ("training", training, TRAINING_SEED),
        ("test", test, TEST_SEED),
    ):
        images, labels = draw(count, seed)
        path = folder / f"{name}.npz"
        np.savez_compressed(path, images=images, letters=np.array(TASK.labels)[labels])
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def _draw(letter: str, random: np.random.Generator) -> np.ndarray:
    picture = Image.new("L", (SIZE, SIZE))
    font = _font(str(random.choice(FONTS)), int(random.integers(20, 28)))
    x, y = SIZE / 2 + random.integers(-2, 3, 2)
    thick = int(random.integers(0, 2))
    ImageDraw.Draw(picture).text((x, y), letter, 255, font, "mm", stroke_width=thick)
    return np.asarray(picture.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR))


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf", f"{name}.ttf"), size)
