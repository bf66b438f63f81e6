"""The generated images that show no class are what they are said to be, for any task."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.task import ImageForm, LabelledImages, Task
from pipeline.mnist import TASK
from pipeline.negatives.characters import (
    HELD_OUT_FONTS,
    TRAINING_FONTS,
    characters_of,
    drawable,
    glyph,
)
from pipeline.negatives.composites import side_by_side
from pipeline.negatives.form import fit
from pipeline.negatives.kinds import generate, held_out_kinds, printed_labels, training_kinds
from tests.digits import Images, make_digits
from tests.letters import TASK as LETTERS

DIGITS = LabelledImages(*make_digits(100, seed=1))
SQUARE = ImageForm(height=16, width=16, ink=12)


def shapes() -> tuple[Task, LabelledImages]:
    """A task whose labels are words, with images in another form."""
    task = replace(
        TASK, labels=("ring", "bar"), form=SQUARE, foreign="#", mirrored=(), noun="shape"
    )
    images = np.zeros((4, 16, 16), np.uint8)
    images[:2, 3:13, 3:13], images[:2, 6:10, 6:10] = 255, 0
    images[2:, 2:14, 7:9] = 255
    return task, LabelledImages(images, np.array([0, 0, 1, 1], np.uint8))


@pytest.mark.parametrize("kinds", [training_kinds, held_out_kinds])
@pytest.mark.parametrize("of", [(TASK, DIGITS), shapes()])
def test_every_kind_has_images_in_the_form_of_the_task(
    kinds: type, of: tuple[Task, LabelledImages]
) -> None:
    task, known = of
    found = kinds(task, known)
    images, numbers = generate(found, task, 150, seed=3)
    assert images.shape == (150, *task.form.shape)
    assert {*numbers.tolist()} == {*range(len(found))}
    for number, (name, kind) in enumerate(found.items()):
        some = images[numbers == number]
        if name == "blank":
            continue
        assert (np.ptp(some, axis=(1, 2)) > 60).mean() > 0.9, name
        if not kind.in_form:  # as the images of the data set: in the square of the ink, on black
            boxes = [np.ptp(np.argwhere(image > 128), 0) + 1 for image in some]
            assert max(map(max, boxes)) <= task.form.ink, name
            assert np.mean([max(box) for box in boxes]) > 0.85 * task.form.ink, name


def test_the_same_seed_draws_the_same_images() -> None:
    kinds = training_kinds(TASK, DIGITS)
    first, again, other = (generate(kinds, TASK, 60, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_that_is_measured_on_was_trained_on() -> None:
    assert not {*TRAINING_FONTS} & {*HELD_OUT_FONTS}
    train, measure = (kinds(TASK, DIGITS) for kinds in (training_kinds, held_out_kinds))
    draws = [{getattr(kind.draw, "func", kind.draw) for kind in each.values()}
             for each in (train, measure)]  # fmt: skip
    shared = {draw.__name__ for draw in draws[0] & draws[1]}
    # with other fonts or from other images
    assert shared == {"hand_drawn", "mirrored", "inverted"}


def test_several_images_are_in_rows_of_any_direction() -> None:
    """Of two squares in a row, one covers the other in part at most."""
    squares = np.zeros((3, 28, 28), np.uint8)
    squares[:, 8:20, 8:20] = 255
    drawn = [side_by_side(squares, np.random.default_rng(seed)) for seed in range(100)]
    assert all(1.2 * 12 * 12 < (ink > 0).sum() <= 3 * 12 * 12 for ink in drawn)
    wide, tall = (np.mean([ink.shape[a] > 1.5 * ink.shape[1 - a] for ink in drawn]) for a in (1, 0))
    assert min(wide, tall, 1 - wide - tall) > 0.15


@pytest.mark.parametrize("task", [TASK, LETTERS])
@pytest.mark.parametrize("fonts", [TRAINING_FONTS, HELD_OUT_FONTS])
def test_foreign_characters_are_no_labels_and_have_a_glyph(task: Task, fonts: list[str]) -> None:
    assert not {*task.labels} & {*task.foreign}
    assert len(drawable(task.foreign, fonts)) > 0.8 * len(task.foreign)
    for character in drawable(task.foreign, fonts):
        font = next(font for font in fonts if character in characters_of(font))
        assert (glyph(character, font) > 128).sum() > 20, character


def test_printed_labels_are_images_of_the_classes() -> None:
    """The detector would otherwise take every printed digit for something else."""
    images = printed_labels(TASK, HELD_OUT_FONTS, 40, seed=1)
    assert images.shape == (40, 28, 28)
    assert (images.max((1, 2)) == 255).all()
    assert len(printed_labels(shapes()[0], HELD_OUT_FONTS, 40, seed=1)) == 0


def test_images_of_the_data_set_keep_their_form(mnist: tuple[Images, Images]) -> None:
    """Otherwise the detector would learn the difference between two ways of centring."""
    images = mnist[0][:300]
    moved = [np.abs(_middle(image) - _middle(fit(image, TASK.form))).max() for image in images]
    assert np.mean(moved) < 0.6


def _middle(image: Images) -> np.ndarray:
    places = np.indices(image.shape)
    return np.array([(place * image).sum() / image.sum() for place in places])
