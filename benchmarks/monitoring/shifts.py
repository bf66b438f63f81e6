"""Changes of the input, each by several severities."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.task import LabelledImages, Task
from pipeline.evaluation.distortions import thicker, thinner
from pipeline.negatives.kinds import generate, held_out_kinds

SEED = 5
NO_CLASS = -1  # the label of an image that shows none of the classes
Images = NDArray[np.uint8]


class Shift(NamedTuple):
    """Images as they come after a change, with their true labels."""

    change: str
    severity: str
    images: Images
    labels: NDArray[np.int64]  # NO_CLASS: none


def shifts(test: LabelledImages, task: Task) -> Iterator[Shift]:
    """The test images without a change, and then with each change by each severity."""
    labels = test.labels.astype(np.int64)
    yield Shift("none", "", test.images, labels)
    for change, (severities, make) in CHANGES.items():
        for severity, amount in severities.items():
            yield Shift(change, severity, make(test.images, amount), labels)
    letters = generate(
        {"characters": held_out_kinds(task, test)["characters"]}, task, len(labels), SEED
    )[0]
    for share in (0.02, 0.05, 0.2, 1.0):
        replaced = np.random.default_rng(SEED).permutation(len(labels)) < share * len(labels)
        images = np.where(replaced[:, None, None], letters, test.images)
        yield Shift(
            "other characters", f"{share:.0%}", images, np.where(replaced, NO_CLASS, labels)
        )
    for times in (1.5, 2, 3):
        yield Shift("one class more frequent", f"{times:g} times", *_more_of(test, 3, times))


def _more_of(test: LabelledImages, label: int, times: float) -> tuple[Images, NDArray[np.int64]]:
    """As many images, one class of which is so many times as frequent."""
    weights = np.where(test.labels == label, times, 1.0)
    random = np.random.default_rng(SEED)
    chosen = random.choice(len(weights), len(weights), p=weights / weights.sum())
    return test.images[chosen], test.labels[chosen].astype(np.int64)


def _moved(images: Images, pixels: float) -> Images:
    """Each image moved by so many pixels in one of the four directions."""
    changed = images.copy()
    for number, (axis, sign) in enumerate(((1, 1), (1, -1), (2, 1), (2, -1))):
        part = slice(number, None, 4)
        by = [0.0, 0.0, 0.0]
        by[axis] = sign * pixels
        changed[part] = ndimage.shift(images[part], by, order=0)
    return changed


def _rotated(images: Images, degrees: float) -> Images:
    """Half of the images rotated clockwise, half counter-clockwise."""
    rotate = partial(ndimage.rotate, axes=(1, 2), reshape=False, order=1, mode="grid-constant")
    changed = images.copy()
    changed[::2], changed[1::2] = rotate(images[::2], degrees), rotate(images[1::2], -degrees)
    return changed


def _scaled(images: Images, factor: float) -> Images:
    """Scaled about the middle."""
    middle = (np.array(images.shape) - 1) / 2
    matrix = np.array([1, 1 / factor, 1 / factor])
    offset = middle - matrix * middle
    return np.asarray(
        ndimage.affine_transform(images, matrix, offset, order=1, mode="grid-constant")
    )


def _noisy(images: Images, deviation: float) -> Images:
    """With Gaussian noise of this standard deviation, relative to the pixel range."""
    noise = np.random.default_rng(SEED).normal(0, deviation * 255, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def _faded(images: Images, contrast: float) -> Images:
    return (images * contrast).round().astype(np.uint8)


def _repeated(change: Callable[[Images], Images]) -> Callable[[Images, float], Images]:
    def make(images: Images, times: float) -> Images:
        for _ in range(round(times)):
            images = change(images)
        return images

    return make


CHANGES: dict[str, tuple[dict[str, float], Callable[[Images, float], Images]]] = {
    "moved": ({f"by {n}": n for n in (1, 2, 3, 4)}, _moved),
    "rotated": ({f"{n}°": n for n in (2, 5, 15, 30, 45)}, _rotated),
    "scaled": ({f"{n:g} times": n for n in (0.97, 1.03, 0.75, 1.25)}, _scaled),
    "noise": ({f"{n:g}": n for n in (0.02, 0.1, 0.2, 0.35)}, _noisy),
    "faded": ({f"to {n:.0%}": n for n in (0.97, 0.7, 0.4)}, _faded),
    "thinner pen": ({"once": 1, "twice": 2}, _repeated(thinner)),
    "thicker pen": ({"once": 1, "twice": 2}, _repeated(thicker)),
}
