"""An exported model as a library: images in, labels out.

from pipeline.inference import Classifier

classifier = Classifier()  # the released model, if its SHA-256 is the right one
classifier.predict(images).labels  # of images [N, H, W], as the data set has them
classifier.predict(classifier.from_image("photo.jpg")).labels  # of a picture as people have it
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.inference.released import released_model
from pipeline.inference.session import OnnxModel
from pipeline.pictures.grey import as_grey
from pipeline.pictures.images import Images, as_images, as_pixels, in_form
from pipeline.pictures.reading import read_images

CHECKSUMS = "SHA256SUMS"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """What N images show."""

    classes: NDArray[np.int64]  #: [N], the numbers of the most probable classes
    labels: list[str]  #: [N], their names
    confidences: NDArray[np.float32]  #: [N], their probabilities
    probabilities: NDArray[np.float32]  #: [N, classes]
    logits: NDArray[np.float32]  #: [N, classes]


class Classifier:
    """Classifies images with an exported model. Threads may share one, processes may pickle it."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        provider: str = "auto",
        threads: int = 0,
        sha256: str | None = None,
    ) -> None:
        """Load a file; none: the released model.

        The file must have this SHA-256, or else the one that SHA256SUMS beside it names.
        For a model that MLflow has there is `pipeline.registry.open_classifier`.
        `provider` is one of ONNX Runtime, or `auto`: CUDA where that works, else the CPU.
        `threads`: 0 is one per core. UserError if the model is missing, another one or broken.
        """
        model = released_model() if model is None else model
        if sha256 is None:
            self._model = _verified(Path(model), provider, threads)
        else:
            self._model = OnnxModel(Path(model), provider, threads, sha256)
        self.sha256 = self._model.sha256  #: of the file
        self.signature = self._model.signature  #: what the file says of itself
        LOG.info("%s (SHA-256 %s) runs on %s", model, self.sha256, ", ".join(self.providers))

    @property
    def providers(self) -> list[str]:
        """Those of ONNX Runtime that it really uses."""
        return self._model.providers

    def predict(self, images: ArrayLike) -> Predictions:
        """The classes of images [N, H, W] of light ink on dark ground, in the form of the model.

        Integers are from 0 to 255, floats from 0 to 1; a ValueError says what is wrong with others.
        """
        logits, probabilities = self._model.run(as_images(images, self.signature.form))
        classes = probabilities.argmax(1)
        labels = [self.signature.labels[number] for number in classes]
        return Predictions(classes, labels, probabilities.max(1), probabilities, logits)

    def from_image(self, picture: str | Path | Image.Image | NDArray[Any]) -> Images:
        """A picture of one character in the form of the model, uint8 [1, H, W].

        It is a file, a PIL image, or an array [H, W] or [H, W, 3]. It is made grey and, where the
        background is light, inverted; its ink is scaled to the size that it has in the data set,
        the centre of mass in the middle. UserError if a file cannot be read, ValueError if an array
        is no picture or has no ink.
        """
        form = self.signature.form
        if isinstance(picture, str | Path):
            return read_images(Path(picture), form, normalise=True)
        if not isinstance(picture, Image.Image):
            if picture.size == 0 or picture.shape[2:] not in [(), (3,)] or picture.ndim < 2:
                raise ValueError(f"a picture is [H, W] or [H, W, 3], not {list(picture.shape)}")
            picture = Image.fromarray(as_pixels(picture))
        return in_form([as_grey(picture)], form, normalise=True)


def _verified(path: Path, provider: str, threads: int) -> OnnxModel:
    """The model in a file, if it is the listed one. A release may replace both meanwhile."""
    try:
        model = OnnxModel(path, provider, threads, digest := _listed(path))
    except UserError:
        model = OnnxModel(path, provider, threads, digest := _listed(path))
    if digest is None:
        LOG.warning("%s is not verified: there is no %s beside it", path, CHECKSUMS)
    return model


def _listed(path: Path) -> str | None:
    """The SHA-256 that the file should have, as SHA256SUMS beside it says; None without that."""
    sums = path.parent / CHECKSUMS
    if not sums.exists():
        return None
    try:
        lines = sums.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise UserError(f"{sums} is no text in UTF-8: `sha256sum` makes such a file") from error
    for line in lines:
        digest, _, name = line.strip().partition(" ")
        if name.strip().removeprefix("*").removeprefix("./") == path.name:  # `*`: `sha256sum -b`
            return digest.lower()
    raise UserError(f"{sums} does not list {path.name}")
