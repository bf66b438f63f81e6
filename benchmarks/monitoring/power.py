"""python -m benchmarks monitoring: false alarms of `monitor`, and how soon it notices a change.

False alarms: the calibration set is split in two at random, several times. One half is the
reference, from which the thresholds come; windows of the other half, which no network was trained
on either, raise alarms. Changes: windows of changed test images; next to how many of them are
noticed are the accuracy that the change costs and the loss that is estimated without labels.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.models import task_of
from benchmarks.monitoring.report import show
from benchmarks.monitoring.shifts import Shift, shifts
from benchmarks.report import write_report
from pipeline.core.files import read_tensors
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.inference.providers import CPU
from pipeline.monitoring.baseline import Baseline, make_baseline
from pipeline.monitoring.drift import TESTS, p_values
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.reference import Reference, make_reference
from pipeline.monitoring.statistics import Floats
from pipeline.monitoring.thresholds import FALSE_ALARMS, WINDOWS, calibrate, draw_windows

SEED = 7
POOL = 2000  # test images, from which windows are drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[100, 500], help="images of a window (100 500)"
    )
    parser.add_argument("--splits", type=int, default=20, help="of the calibration set (20)")
    parser.add_argument("--trials", type=int, default=500, help="windows of each kind (500)")
    parser.add_argument(
        "--null", type=int, default=WINDOWS, help=f"windows for the thresholds ({WINDOWS})"
    )


def main(workspace: Workspace, windows: list[int], splits: int, trials: int, null: int) -> None:
    """Measure and write the report."""
    classifier = Classifier(workspace.released_model, provider=CPU, threads=1)
    held_out = LabelledImages(**read_tensors(workspace.calibration_set))
    test = LabelledImages(**read_tensors(workspace.test_set))
    chosen = np.random.default_rng(SEED).permutation(len(test.labels))[:POOL]
    test = LabelledImages(test.images[chosen], test.labels[chosen])
    reference = make_reference(classifier, held_out)
    answered = [
        (shift, Observations.of(shift.images, classifier.predict(shift.images)))
        for shift in shifts(test, task_of(workspace))
    ]
    result: dict[str, Any] = {"splits": splits, "trials": trials, "windows": {}}
    for size in windows:
        baseline = make_baseline(classifier.sha256, reference, calibrate(reference, size, null))
        result["windows"][str(size)] = {
            "false_alarms": false_alarms(reference, size, splits, trials, null),
            "threshold": baseline.thresholds.p_value,
            "power": [power(baseline, *each, trials) for each in answered],
        }
    write_report(workspace, "monitoring", result, show(result, POOL, FALSE_ALARMS), ["scipy"])


def false_alarms(
    reference: Reference, size: int, splits: int, trials: int, null: int
) -> list[float]:
    """The share of windows that raise an alarm, for each split of the reference in two halves."""
    shares = []
    for split in range(splits):
        order = np.random.default_rng([SEED, split]).permutation(len(reference))
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        known = Reference(
            reference.signature, reference.observations.take(one), reference.labels[one]
        )
        thresholds = calibrate(known, size, null // 2)
        measured = known.measure(reference.observations.take(other))
        drawn = draw_windows(len(other), size, trials, split)
        found = p_values(known, measured, drawn, thresholds.mmd_null)
        shares.append(float((found.min(1) < thresholds.p_value).mean()))
    return shares


def power(
    baseline: Baseline, shift: Shift, observations: Observations, trials: int
) -> dict[str, Any]:
    """How many windows of changed images are noticed, and what the change costs."""
    thresholds = baseline.thresholds
    drawn = draw_windows(len(observations), thresholds.window, trials, SEED)
    measured = baseline.reference.measure(observations)
    found = p_values(baseline.reference, measured, drawn, thresholds.mmd_null)
    alarms = found < thresholds.p_value
    answered = ~observations.foreign
    right = (observations.classes == shift.labels)[answered]
    confidences = baseline.confidences(observations)
    return {
        "change": shift.change,
        "severity": shift.severity,
        "noticed": float(alarms.any(1).mean()),
        "by_test": dict(zip(TESTS, map(float, alarms.mean(0)), strict=True)),
        "refused": float(observations.foreign.mean()),
        "accuracy": _mean(right),
        "estimated": _mean(confidences),
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
