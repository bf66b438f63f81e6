"""The kinds of images that show no class: those to train on, and those to measure on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.core.task import LabelledImages, Task
from pipeline.negatives import composites, drawings
from pipeline.negatives.characters import HELD_OUT_FONTS, TRAINING_FONTS, drawable, hand_drawn
from pipeline.negatives.form import Ink, fit

Draw = Callable[[np.random.Generator], Ink]


@dataclass(frozen=True)
class Kind:
    """A kind of image."""

    draw: Draw  # ink [H, W]
    share: float = 1.0  # of all images, relative to the shares of the other kinds
    in_form: bool = False  # whether it is drawn in the form of the data set


def training_kinds(task: Task, known: LabelledImages) -> dict[str, Kind]:
    """The kinds to train on; `known`: images of the classes."""
    images, form = known.images, task.form
    kinds = {
        "scribbles": Kind(drawings.scribble, 4),
        "shapes": Kind(drawings.shape, 2),
        "several": Kind(partial(composites.side_by_side, images), 12),
        "close-ups": Kind(partial(composites.close_up, images, form), 1, in_form=True),
        "noise": Kind(partial(drawings.noise, form), 2, in_form=True),
        "blank": Kind(partial(drawings.blank, form), 0.3, in_form=True),
        "inverted": Kind(partial(composites.inverted, images), 1, in_form=True),
    }
    return kinds | _of_the_task(task, known, TRAINING_FONTS, unsteady=1, characters=10, mirrored=1)


def held_out_kinds(task: Task, known: LabelledImages) -> dict[str, Kind]:
    """The kinds to measure on: other fonts and other code; `known`: images for no training."""
    images, form = known.images, task.form
    kinds = {
        "scribbles": Kind(drawings.loops),
        "several": Kind(partial(composites.overlaid, images)),
        "cut off": Kind(partial(composites.cut_off, images), in_form=True),
        "noise": Kind(partial(drawings.speckle, form), in_form=True),
        "blank": Kind(partial(drawings.gradient, form), in_form=True),
        "inverted": Kind(partial(composites.inverted, images), in_form=True),
    }
    return kinds | _of_the_task(task, known, HELD_OUT_FONTS, unsteady=0.6)


def _of_the_task(
    task: Task,
    known: LabelledImages,
    fonts: Sequence[str],
    *,
    unsteady: float,
    characters: float = 1,
    mirrored: float = 1,
) -> dict[str, Kind]:
    """The kinds that depend on what a task says: its foreign characters, its mirror images."""
    found = {}
    if foreign := drawable(task.foreign, fonts):
        draw = partial(hand_drawn, foreign, fonts, unsteady=unsteady)
        found["characters"] = Kind(draw, characters)
    asymmetric = np.isin(known.labels, [task.labels.index(label) for label in task.mirrored])
    if asymmetric.any():
        draw = partial(composites.mirrored, known.images[asymmetric])
        found["mirrored"] = Kind(draw, mirrored, in_form=True)
    return found


def printed_labels(task: Task, fonts: Sequence[str], count: int, seed: int) -> Ink:
    """The labels of one character in these fonts, uint8 [count, H, W]; none if there are none.

    They are images of the classes: the detector tells characters apart, not print from handwriting.
    """
    labels = drawable([label for label in task.labels if len(label) == 1], fonts)
    if not labels:
        return np.zeros((0, *task.form.shape), np.uint8)
    draw = partial(hand_drawn, labels, fonts, unsteady=1)
    return generate({"": Kind(draw)}, task, count, seed)[0]


def generate(
    kinds: Mapping[str, Kind], task: Task, count: int, seed: int
) -> tuple[Ink, NDArray[np.uint8]]:
    """Draw `count` images by their shares: uint8 [count, H, W], and the numbers of their kinds."""
    shares = np.array([kind.share for kind in kinds.values()])
    ends = np.rint(count * np.cumsum(shares) / shares.sum()).astype(int)
    numbers = np.searchsorted(ends, np.arange(count), side="right").astype(np.uint8)
    images = np.zeros((count, *task.form.shape), np.uint8)
    sequence = list(kinds.values())
    for n, number in enumerate(numbers):
        kind, random = sequence[number], np.random.default_rng([seed, n])
        ink = kind.draw(random)
        images[n] = ink if kind.in_form else fit(ink, task.form)
    return images, numbers
