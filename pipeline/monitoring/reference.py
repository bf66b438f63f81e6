"""The reference: observations of images that no network was trained on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError
from pipeline.core.task import LabelledImages
from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.statistics import cumulative, kernel, median_distance

LEAST_IMAGES = 200


@dataclass(frozen=True)
class Measured:
    """Where N images lie in the distribution of the reference."""

    observations: Observations
    logits: tuple[NDArray[np.floating], NDArray[np.floating]]  # what `cumulative` returns
    statistics: tuple[NDArray[np.floating], NDArray[np.floating]]
    to_reference: NDArray[np.floating]  # [N], mean of the kernel with the reference
    bandwidth: float

    def __len__(self) -> int:
        return len(self.observations)

    @cached_property
    def own(self) -> NDArray[np.floating]:
        """The kernel between the images, float32 [N, N]."""
        logits = self.observations.logits
        return kernel(logits, logits, self.bandwidth)


class Reference:
    """The reference of one model, [m] images."""

    def __init__(
        self, signature: Signature, observations: Observations, labels: NDArray[np.integer]
    ) -> None:
        """`labels`: [m], the true classes. UserError if there are too few images."""
        if len(observations) < LEAST_IMAGES:
            raise UserError(
                f"the reference has {len(observations)} images, but watching requires at least "
                f"{LEAST_IMAGES}: increase prepare.calibration_images"
            )
        self.signature, self.observations, self.labels = signature, observations, labels
        self.bandwidth = median_distance(observations.logits[:1000])

    def __len__(self) -> int:
        return len(self.observations)

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """How many images are predicted to show each class, [classes]."""
        return np.bincount(self.observations.classes, minlength=len(self.signature.labels))

    @cached_property
    def itself(self) -> Measured:
        """The images of the reference as measured by it."""
        return self.measure(self.observations)

    @cached_property
    def within(self) -> float:
        """The mean of the kernel within the reference."""
        return float(self.itself.to_reference.mean(dtype=float))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the answer to each image is its true class, [m]."""
        known = self.observations
        return np.asarray((known.classes == self.labels) & ~known.foreign)

    def measure(self, observations: Observations) -> Measured:
        """Measure images of the same form, answered by the same model."""
        known = self.observations
        return Measured(
            observations,
            cumulative(known.logits, observations.logits),
            cumulative(known.statistics, observations.statistics),
            kernel(observations.logits, known.logits, self.bandwidth).mean(1, dtype=float),
            self.bandwidth,
        )


def make_reference(classifier: Classifier, held_out: LabelledImages) -> Reference:
    """The reference of a model: its answers to images that it was not trained on."""
    observations = Observations.of(held_out.images, classifier.predict(held_out.images))
    return Reference(classifier.signature, observations, held_out.labels)
