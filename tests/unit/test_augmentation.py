"""Distortions reach the given strength in both directions, and no more."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from pipeline.mnist.augmentation import random_affine, random_noise, random_strokes
from tests.digits import make_digits

STILL: dict[str, float] = {"rotation": 0, "shift": 0, "scale": 0}


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """500 digits, float [500, 1, 28, 28]."""
    images, _ = make_digits(500, seed=1)
    return torch.from_numpy(images).unsqueeze(1).float()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_zero_strength_changes_nothing(pixels: Tensor) -> None:
    assert_close(random_affine(pixels, generator(), **STILL), pixels, atol=0.01, rtol=0)
    assert_close(random_strokes(pixels, generator(), thicken=0, thin=0), pixels)
    assert_close(random_noise(pixels, generator(), noise=0), pixels)


@pytest.mark.parametrize(
    ("strength", "farthest"),
    [({"shift": 0.25}, 7 * 2**0.5), ({"rotation": 180.0}, 10), ({"scale": 0.5}, 2.5)],
)
def test_displacements_stay_within_the_given_strength(
    strength: dict[str, float], farthest: float
) -> None:
    """A dot 5 pixels off centre moves at most that far, and at least one nearly that far."""
    columns, rows = displacements(strength)
    distances = torch.hypot(columns, rows)
    assert 0.8 * farthest < distances.max() <= farthest + 0.3
    assert distances.min() < 1


@pytest.mark.parametrize(
    ("strength", "axis", "most"),
    [
        ({"shift": 0.25}, "columns", 7.0),
        ({"shift": 0.25}, "rows", 7.0),
        ({"rotation": 30.0}, "rows", 2.5),
        ({"scale": 0.5}, "columns", 2.5),
    ],
)
def test_distortions_are_symmetric(strength: dict[str, float], axis: str, most: float) -> None:
    """One-sided shifts, rotations or scaling would waste half of the augmentation."""
    columns, rows = displacements(strength)
    moves = columns if axis == "columns" else rows
    assert -most - 0.3 <= moves.min() < -0.85 * most
    assert most + 0.3 >= moves.max() > 0.85 * most
    assert 0.4 < (moves < 0).float().mean() < 0.6
    assert moves.mean().abs() < 0.1 * most


def displacements(strength: dict[str, float]) -> tuple[Tensor, Tensor]:
    """The displacements right and down of 500 dots that start 5 pixels right of the centre."""
    inputs = torch.zeros(500, 1, 28, 28)
    inputs[:, :, 13:15, 18:20] = 1.0
    out = random_affine(inputs, generator(), **(STILL | strength))
    mass = out[:, 0] / out[:, 0].sum((1, 2), keepdim=True)
    columns = (mass.sum(1) * torch.arange(28)).sum(1) - 18.5
    rows = (mass.sum(2) * torch.arange(28)).sum(1) - 13.5
    return columns, rows


def test_pixels_from_outside_the_image_repeat_the_border() -> None:
    """A light page gets no black corners when shifted, rotated and shrunk."""
    light = torch.full((100, 1, 28, 28), 200.0)
    out = random_affine(light, generator(), rotation=45, shift=0.3, scale=0.5)
    assert_close(out, light, atol=0.01, rtol=0)


def test_stroke_width_changes_reach_full_dilation_and_erosion() -> None:
    """A single pixel, light on dark or dark on light, shows the affected neighbourhood."""
    dot = torch.zeros(200, 1, 28, 28)
    dot[:, :, 14, 10] = 200.0
    thicker = random_strokes(dot, generator(), thicken=1.0, thin=0.0)
    amount = thicker[:, :, 13:14, 9:10] / 200
    assert amount.max() > 0.95
    assert_close(thicker, dot + amount * (F.max_pool2d(dot, 3, 1, 1) - dot))
    hole = 200 - dot
    thinner = random_strokes(hole, generator(), thicken=0.0, thin=1.0)
    amount = 1 - thinner[:, :, 13:14, 9:10] / 200
    assert amount.max() > 0.95
    assert_close(thinner, hole + amount * (-F.max_pool2d(-hole, 3, 1, 1) - hole))


def test_half_of_the_strokes_thicken_and_half_thin(pixels: Tensor) -> None:
    out = random_strokes(pixels, generator(), thicken=1.0, thin=1.0)
    thicker = (out >= pixels).flatten(1).all(1)
    thinner = (out <= pixels).flatten(1).all(1)
    assert (thicker | thinner).all()
    assert 0.4 < thicker.float().mean() < 0.6
    assert out.min() >= 0
    assert out.max() <= 255


def test_thicken_and_thin_work_independently(pixels: Tensor) -> None:
    ink = pixels.mean((1, 2, 3))
    thicker = random_strokes(pixels, generator(), thicken=1.0, thin=0.0).mean((1, 2, 3)) / ink
    thinner = random_strokes(pixels, generator(), thicken=0.0, thin=1.0).mean((1, 2, 3)) / ink
    assert thicker.min() > 0.999
    assert thicker.max() > 1.5
    assert thinner.max() < 1.001
    assert thinner.min() < 0.5


def test_noise_affects_half_of_the_images_and_stays_in_range() -> None:
    grey = torch.full((1000, 1, 28, 28), 128.0)
    out = random_noise(grey, generator(), noise=0.1)
    deviations = out.std((1, 2, 3)) / 255
    assert 0.45 < (deviations == 0).float().mean() < 0.55
    assert 0.09 < deviations.max() < 0.11
    assert (out - grey).mean().abs() < 0.1
    wild = random_noise(grey, generator(), noise=10.0)
    assert wild.min() == 0
    assert wild.max() == 255


def test_distortions_draw_only_from_the_given_generator(pixels: Tensor) -> None:
    """An interrupted epoch is retrained from its seed: other random numbers would differ."""

    def distorted(global_seed: int) -> list[Tensor]:
        torch.manual_seed(global_seed)
        return [
            random_affine(pixels, generator(), rotation=10, shift=0.1, scale=0.1),
            random_strokes(pixels, generator(), thicken=1.0, thin=1.0),
            random_noise(pixels, generator(), noise=0.1),
        ]

    for one, other in zip(distorted(1), distorted(2), strict=True):
        assert torch.equal(one, other)
