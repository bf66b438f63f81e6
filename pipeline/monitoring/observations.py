"""What is compared of each image: the model's answer and the image statistics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.classifier import Predictions
from pipeline.inference.signature import Signature
from pipeline.monitoring.image_statistics import Images, image_statistics


@dataclass(frozen=True)
class Observations:
    """The observations of N images, in order."""

    logits: NDArray[np.float32]  # [N, classes]
    classes: NDArray[np.int64]  # [N], the most probable class
    foreign: NDArray[np.bool_]  # [N], the verdict is that an image shows none of the classes
    statistics: NDArray[np.float32]  # [N, 6]; see image_statistics

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, places: NDArray[np.int64] | slice) -> "Observations":
        """The observations at these places."""
        return Observations(**{name: values[places] for name, values in vars(self).items()})

    @classmethod
    def of(cls, images: Images, predictions: Predictions) -> "Observations":
        """The observations of images, uint8 [N, H, W], and what a model predicts for them."""
        return cls(
            logits=predictions.logits,
            classes=predictions.classes,
            foreign=np.array([label is None for label in predictions.labels], bool),
            statistics=image_statistics(images),
        )

    @classmethod
    def of_answers(
        cls,
        images: Images,
        logits: NDArray[np.float32],
        verdicts: list[str],
        signature: Signature,
    ) -> "Observations":
        """The observations of images and of a model's recorded answers to them."""
        return cls(
            logits=logits,
            classes=logits.argmax(1),
            foreign=np.array([verdict == signature.foreign for verdict in verdicts], bool),
            statistics=image_statistics(images),
        )
