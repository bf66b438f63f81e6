"""The reference and the thresholds of a model, computed once and kept in a file."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.files import read_tensors, sha256, write_bytes
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.inference.providers import CPU
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.quality import confidences, temperature
from pipeline.monitoring.reference import Reference, make_reference
from pipeline.monitoring.statistics import Floats
from pipeline.monitoring.thresholds import Thresholds, calibrate

LOG = logging.getLogger(__name__)
FILE = "reference.safetensors"
FORMAT = b"1"  # of the file, and of what it is computed from


@dataclass(frozen=True)
class Baseline:
    """What the windows of one model are compared with."""

    model_sha256: str
    reference: Reference
    thresholds: Thresholds
    temperature: float  # makes confidences calibrated
    calibrate: Callable[[int], Thresholds]  # for windows of another number of images

    def thresholds_for(self, images: int) -> Thresholds:
        """The thresholds for windows of so many images; new ones take seconds."""
        return self.thresholds if images == self.thresholds.window else self.calibrate(images)

    @property
    def accuracy(self) -> float:
        """The share of the reference that is answered right."""
        return float(self.reference.right.mean())

    @property
    def accuracy_of_answered(self) -> float:
        """The same among the images that are said to show a class."""
        return float(self.reference.right[~self.reference.observations.foreign].mean())

    def confidences(self, observations: Observations) -> Floats:
        """The calibrated confidences of the images that are said to show a class."""
        return confidences(observations.logits[~observations.foreign], self.temperature)


def load_baseline(workspace: Workspace, model: Path, window: int, folder: Path) -> Baseline:
    """The baseline of a model file for windows of so many images, from `folder` if it is there.

    Otherwise it is computed from the calibration set, which takes seconds, and kept. UserError if
    the calibration set or the model is missing, or too small for the window.
    """
    classifier = Classifier(model, provider=CPU, threads=1)
    if not workspace.calibration_set.exists():
        raise UserError(
            f"{workspace.calibration_set} is missing, which monitor compares with: run "
            "`dvc repro prepare`"
        )
    if workspace.training_set.exists() and sha256(workspace.training_set) != (
        classifier.signature.data_sha256
    ):
        LOG.warning(
            "the released model was trained on another training set than %s: it may know images "
            "of the reference, and alarms may then be too frequent",
            workspace.training_set,
        )
    digests = (classifier.sha256, sha256(workspace.calibration_set))
    path, key = folder / FILE, _key(*digests, str(window))
    if (kept := _read(path, key)) is not None:
        reference = Reference(
            classifier.signature,
            Observations(*(kept[name] for name in ("logits", "classes", "foreign", "statistics"))),
            kept["labels"],
        )
        thresholds = Thresholds(window, float(kept["p_value"][0]), kept["mmd_null"])
    else:
        held_out = LabelledImages(**read_tensors(workspace.calibration_set))
        reference = make_reference(classifier, held_out)
        thresholds = calibrate(reference, window)
        observed = {**vars(reference.observations), "labels": np.asarray(reference.labels)}
        _write(path, key, thresholds, observed)
    others = partial(_thresholds, reference, digests, folder)
    return make_baseline(classifier.sha256, reference, thresholds, others)


def make_baseline(
    model_sha256: str,
    reference: Reference,
    thresholds: Thresholds,
    others: Callable[[int], Thresholds] | None = None,
) -> Baseline:
    """The baseline, with the temperature that fits the reference.

    `others`: the thresholds for windows of other sizes; by default they are calibrated each time.
    """
    fitted = temperature(reference.observations.logits, reference.labels)
    others = others or partial(calibrate, reference)
    return Baseline(model_sha256, reference, thresholds, fitted, others)


def _thresholds(
    reference: Reference, digests: tuple[str, str], folder: Path, window: int
) -> Thresholds:
    """The thresholds for windows of so many images, which are kept in a file, too."""
    path, key = folder / f"thresholds-{window}.safetensors", _key(*digests, str(window))
    if (kept := _read(path, key)) is not None:
        return Thresholds(window, float(kept["p_value"][0]), kept["mmd_null"])
    thresholds = calibrate(reference, window)
    _write(path, key, thresholds, {})
    return thresholds


def _key(*texts: str) -> bytes:
    return hashlib.sha256(b"/".join([FORMAT, *(text.encode() for text in texts)])).digest()


def _write(
    path: Path, key: bytes, thresholds: Thresholds, observed: Mapping[str, np.ndarray]
) -> None:
    from safetensors.numpy import save

    tensors = {
        **observed,
        "p_value": np.array([thresholds.p_value]),
        "mmd_null": np.asarray(thresholds.mmd_null),
        "key": np.frombuffer(key, np.uint8),
    }
    write_bytes(path, save({name: np.ascontiguousarray(each) for name, each in tensors.items()}))


def _read(path: Path, key: bytes) -> dict[str, np.ndarray] | None:
    """The tensors of the file; None if it is missing, damaged or of something else."""
    try:
        tensors = read_tensors(path)
    except UserError:
        return None
    return tensors if tensors.get("key", np.empty(0)).tobytes() == key else None
