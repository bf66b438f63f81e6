"""Distorted images, and a classifier's behaviour on them, are the same wherever they are made."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from pipeline.evaluation import behaviour
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES, SEED
from pipeline.evaluation.titles import Distortion, Nudge
from tests.digits import Images, make_digits


@pytest.fixture(scope="module")
def images() -> Images:
    return make_digits(20, seed=1)[0]


def affine(image: Images, angle: float, shift: Sequence[int], scale: float) -> Images:
    """One image [H, W], rotated, shifted and scaled by torchvision."""
    amounts = (angle, list(shift), scale, [0.0, 0.0], InterpolationMode.BILINEAR)
    changed: Images = functional.affine(torch.from_numpy(image)[None], *amounts)[0].numpy()
    return changed


def shifted(image: Images, shift: Sequence[int]) -> Images:
    return affine(image, 0.0, shift, 1.0)


def rotated(image: Images, angle: float) -> Images:
    return affine(image, angle, (0, 0), 1.0)


def scaled(image: Images, scale: float) -> Images:
    return affine(image, 0.0, (0, 0), scale)


def test_params_name_the_distortions_and_the_nudges() -> None:
    assert get_args(Distortion) == tuple(DISTORTIONS)
    assert get_args(Nudge) == tuple(NUDGES)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distortion_changes_images_in_the_same_way_every_time(name: str, images: Images) -> None:
    """Also if more images follow: a figure shows the images that were measured."""
    before = images.copy()
    first, again = (DISTORTIONS[name](images) for _ in range(2))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(DISTORTIONS[name](images[:7]), first[:7])
    np.testing.assert_array_equal(images, before)
    assert (first != images).any((1, 2)).mean() > 0.8


@pytest.mark.parametrize("name", ["shifted", "rotated", "scaled"])
def test_distortions_agree_with_torchvision(name: str, images: Images) -> None:
    """Up to one grey level, where both round."""
    draw = np.random.default_rng(SEED)
    expected = {
        "shifted": lambda: map(shifted, images, draw.integers(-2, 3, (len(images), 2))),
        "rotated": lambda: map(rotated, images, draw.uniform(-15, 15, len(images))),
        "scaled": lambda: map(scaled, images, draw.uniform(0.9, 1.1, len(images))),
    }[name]()
    found = DISTORTIONS[name](images).astype(int)
    assert np.abs(found - np.stack(list(expected))).max() <= 1


def test_strokes_become_thinner_and_thicker(images: Images) -> None:
    thin, thick = (DISTORTIONS[name](images) for name in ("thinner", "thicker"))
    assert (thin <= images).all()
    assert (thick >= images).all()


def test_nudges_move_by_one_pixel_and_rotate_by_5_degrees(images: Images) -> None:
    moved = {shifted(images[3], shift).tobytes() for shift in ((0, 1), (0, -1), (1, 0), (-1, 0))}
    assert {nudged[3].tobytes() for nudged in NUDGES["shift"](images)} == moved
    for angle, nudged in zip((-5, 5), NUDGES["rotation"](images), strict=True):
        assert np.abs(nudged[3].astype(int) - rotated(images[3], angle)).max() <= 1


def test_accuracy_is_that_with_each_distortion(images: Images) -> None:
    """Only noise lights the corner, which is all that this classifier sees."""

    def classify(images: Images) -> Images:
        return (images[:, 0, 0] > 0).astype(np.uint8)

    found = behaviour.distorted_accuracy(classify, images, np.zeros(len(images), np.uint8))
    light = classify(DISTORTIONS["noisy"](images)).mean()
    assert 0 < light < 1
    assert found == dict.fromkeys(DISTORTIONS, 1.0) | {"noisy": 1 - light}


def test_a_prediction_changes_if_any_of_the_nudges_changes_it() -> None:
    """Three half planes leave the middle in one direction each; the whole plane never does."""
    planes = np.zeros((4, 9, 9), np.uint8)
    planes[0, :, 4:] = planes[1, :, :5] = planes[2, 4:] = planes[3] = 255
    planes = planes.repeat(behaviour.NUDGED, axis=0)

    def classify(images: Images) -> Images:
        return (images[:, 4, 4] > 0).astype(np.uint8)

    assert behaviour.changed_predictions(classify, planes, classify(planes))["shift"] == 0.75


def test_examples_are_images_that_were_measured(images: Images) -> None:
    """The first image of each class, the same as among all images."""
    labels = (np.arange(len(images)) // 2).astype(np.uint8)
    shares = dict.fromkeys([behaviour.UNDISTORTED, *DISTORTIONS], 0.9)
    rows = behaviour.distorted_examples(images, labels, shares)
    assert [row.title for row in rows[1:]] == [distort.title for distort in DISTORTIONS.values()]
    np.testing.assert_array_equal(rows[0].images, images[::2])
    for row, distort in zip(rows[1:], DISTORTIONS.values(), strict=True):
        np.testing.assert_array_equal(row.images, distort(images)[::2])
