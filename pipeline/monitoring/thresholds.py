"""When a window raises an alarm: so rarely without drift, all tests together."""

from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import UserError
from pipeline.evaluation.conformal import threshold
from pipeline.monitoring.drift import mmd, p_values
from pipeline.monitoring.reference import Reference
from pipeline.monitoring.statistics import Floats, Windows

FALSE_ALARMS = 0.001  # per window
WINDOWS = 20_000
SEED = 1
SMALLEST, LARGEST = 50, 0.5  # images of a window, and as a share of the reference


@dataclass(frozen=True)
class Thresholds:
    """The thresholds for windows of one size."""

    window: int  # images
    p_value: float  # a window with a smaller one, in any test, raises an alarm
    mmd_null: Floats  # discrepancies of windows without drift


def calibrate(reference: Reference, window: int, number: int = WINDOWS) -> Thresholds:
    """The thresholds for windows of so many images, from windows of the reference itself.

    Each of them is compared with the rest of the reference, so neither knows the other. UserError
    if the reference does not have enough images.
    """
    if not SMALLEST <= window <= LARGEST * len(reference):
        raise UserError(
            f"a window of {window} images is not possible: choose {SMALLEST} to "
            f"{int(LARGEST * len(reference))}, half of the reference's images"
        )
    windows = draw_windows(len(reference), window, number)
    mmd_null = mmd(reference, reference.itself, windows, own=True)
    smallest = p_values(reference, reference.itself, windows, mmd_null, own=True).min(1)
    return Thresholds(window, -threshold(-smallest, 1 - FALSE_ALARMS), mmd_null)


def draw_windows(images: int, window: int, number: int, seed: int = SEED) -> Windows:
    """Windows of different images, int [number, window], each drawn independently."""
    random = np.random.default_rng(seed)
    order = np.arange(images)
    return np.stack([random.permutation(order)[:window] for _ in range(number)])
