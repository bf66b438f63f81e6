"""python -m benchmarks novelty: the released file on images that show no digit, and on digits.

Measured on kinds of images that the detector was not trained on: other fonts, other code, the test
set. The time of one image is compared with that of the same file without the detector.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor
from PIL import Image

from benchmarks.inference.sampling import Case, collect, latency, summarise
from benchmarks.models import task_of
from benchmarks.report import write_report
from benchmarks.tables import table
from pipeline.core.files import read_tensors
from pipeline.core.reports import CalibrationReport
from pipeline.core.task import LabelledImages, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.conformal import coverage_interval
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.inference.answers import prediction_sets
from pipeline.inference.classifier import Classifier
from pipeline.inference.providers import CPU
from pipeline.negatives.characters import HELD_OUT_FONTS
from pipeline.negatives.kinds import Kind, generate, held_out_kinds, printed_labels
from pipeline.pictures.normal_form import bring_into_form

SEED = 2  # not that of training
SURE = 0.99  # confidence
ENLARGED, MARGIN = 5, 40  # of a character on paper: times, pixels
WITH, WITHOUT = "classifier and detector", "classifier alone"
Images = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--images", type=int, default=2000, help="images of each kind (2000)")
    parser.add_argument("--rounds", type=int, default=10, help="samples of the latency (10)")


def main(workspace: Workspace, images: int, rounds: int) -> None:
    """Measure and write the report."""
    task, test = task_of(workspace), LabelledImages(**read_tensors(workspace.test_set))
    classifier = Classifier(workspace.released_model, provider=CPU)
    kinds = held_out_kinds(task, test)
    refused = {
        name: _refused(classifier, generate({name: kind}, task, images, SEED)[0])
        for name, kind in kinds.items()
    }
    result = {
        "images": images,
        "refused": refused,
        "on_paper": on_paper(classifier, kinds["characters"], task, images),
        "printed_labels": _refused(classifier, printed_labels(task, HELD_OUT_FONTS, images, SEED)),
        "distorted": distorted(classifier, test),
        "sets": coverage(workspace, classifier, test),
        "latency_us": times(workspace.released_model, test.images, rounds),
    }
    write_report(workspace, "novelty", result, show(result, task), [])


def _refused(classifier: Classifier, images: Images) -> dict[str, float]:
    """The share of images that show no class, and of those with a confident class otherwise."""
    found = classifier.predict(images)
    known = np.array([label is not None for label in found.labels])
    return {
        "refused": float(1 - known.mean()),
        "sure_without_detector": float((found.confidences >= SURE).mean()),
        "sure": float((known & (found.confidences >= SURE)).mean()),
    }


def on_paper(classifier: Classifier, characters: Kind, task: Task, images: int) -> dict[str, float]:
    """The same for characters on white paper, brought into the form as people's pictures are."""
    read = []
    for number in range(images):
        ink = characters.draw(np.random.default_rng([SEED, number]))
        size = (ink.shape[1] * ENLARGED, ink.shape[0] * ENLARGED)
        enlarged = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC))
        picture = 255 - np.pad(enlarged, MARGIN)
        try:
            read.append(bring_into_form(picture, task.form))
        except ValueError:  # no ink, or several marks: a refusal
            continue
    shares = _refused(classifier, np.stack(read))
    part = len(read) / images
    return {
        "not_read": 1 - part,
        "refused": 1 - part * (1 - shares["refused"]),
        **{name: part * shares[name] for name in ("sure_without_detector", "sure")},
    }


def distorted(classifier: Classifier, test: LabelledImages) -> list[dict[str, Any]]:
    """For each distortion of the test set: shares refused, unsure and right among the answered."""
    rows = []
    changed = {each.title: each(test.images) for each in DISTORTIONS.values()}
    for name, images in {"undistorted": test.images, **changed}.items():
        found = classifier.predict(images)
        known = np.array([label is not None for label in found.labels])
        right = found.classes == test.labels
        rows.append(
            {
                "distortion": name,
                "refused": float(1 - known.mean()),
                "unsure": found.verdicts.count("unsure") / len(known),
                "accuracy": float(right.mean()),
                "accuracy_of_answered": float(right[known].mean()),
            }
        )
    return rows


def coverage(
    workspace: Workspace, classifier: Classifier, test: LabelledImages
) -> list[dict[str, Any]]:
    """For each rule: how many sets have the true label, and the interval for what is stated.

    `by_threshold`: the same without the rule that a set always has the most probable label.
    """
    calibration = CalibrationReport.read(workspace.calibration_report).images
    probabilities = classifier.predict(test.images).probabilities
    truth = np.arange(len(test.labels)), test.labels
    rows = []
    for rule in classifier.signature.sets:
        sets = prediction_sets(rule, probabilities)
        by_threshold = probabilities >= np.float32(rule.least_probability)
        sizes = sets.sum(1)
        low, high = coverage_interval(calibration, rule.coverage, len(sets))
        rows.append(
            {
                **rule.model_dump(),
                "covered": float(sets[truth].mean()),
                "by_threshold": float(by_threshold[truth].mean()),
                "low": low,
                "high": high,
                "mean_size": float(sizes.mean()),
                "sizes": np.bincount(sizes).tolist(),
            }
        )
    return rows


def times(file: Path, images: Images, rounds: int) -> list[dict[str, Any]]:
    """Percentiles of the latency of one image, in µs, with and without the detector."""
    model = onnx.load(file)
    alone = Extractor(model).extract_model(["images"], ["logits", "probabilities"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    samplers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, each in ((WITH, model), (WITHOUT, alone)):
            path = Path(folder, "model.onnx")
            onnx.save(each, path)
            session = onnxruntime.InferenceSession(path, options, [CPU])

            def run(images: Images, _: int, session: Any = session) -> Any:
                return session.run(None, {"images": images})[0]

            samplers[Case(name, 1, 1)] = latency(run, images)
        return summarise({}, collect(samplers, rounds, "latency"))["latency_us"]


def show(result: dict[str, Any], task: Task) -> str:
    """The tables in Markdown."""
    shares = {
        **result["refused"],
        "characters on paper": result["on_paper"],
        f"printed {task.noun}s": result["printed_labels"],
    }
    columns = ("refused", "sure_without_detector", "sure")
    medians = {row["engine"]: row["p50"] for row in result["latency_us"]}
    return "\n\n".join(
        [
            f"{result['images']:,} images of each kind, none of which the detector was trained on. "
            f"Sure: shown as a {task.noun} with a confidence of at least {SURE:.0%}.",
            table(
                ["kind", "refused", "sure without the detector", "sure"],
                [[name, *(f"{row[c]:.1%}" for c in columns)] for name, row in shares.items()],
            ),
            table(
                ["test images", "refused", "unsure", "accuracy", "accuracy of the answered"],
                [
                    [
                        row["distortion"],
                        *(f"{row[c]:.2%}" for c in ("refused", "unsure", "accuracy")),
                        f"{row['accuracy_of_answered']:.2%}",
                    ]
                    for row in result["distorted"]
                ],
            ),
            table(
                ["stated coverage", "covered", "by threshold alone", "95 % interval", "mean size"],
                [
                    [
                        f"{row['coverage']:.1%}",
                        f"{row['covered']:.2%}",
                        f"{row['by_threshold']:.2%}",
                        f"{row['low']:.2%} to {row['high']:.2%}",
                        f"{row['mean_size']:.4f}",
                    ]
                    for row in result["sets"]
                ],
            ),
            f"One image takes {medians[WITH]} µs (median), {medians[WITHOUT]} µs without the "
            f"detector: {medians[WITH] / medians[WITHOUT]:.2f} times as long.",
        ]
    )
