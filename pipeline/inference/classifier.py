"""The released model as a library: images in, digits out.

from pipeline.inference import Classifier

classifier = Classifier()  # models/mnist-cnn.onnx, if its SHA-256 is the right one
classifier.predict(images).digits  # of images [N, 28, 28], as MNIST has them
classifier.predict(Classifier.from_image("photo.jpg")).digits  # of a picture as people have it
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.inference.released import released_model
from pipeline.inference.session import OnnxModel
from pipeline.pictures.images import Images, as_grey, as_images, as_pixels, to_mnist_form
from pipeline.pictures.sources import read_images

CHECKSUMS = "SHA256SUMS"
LOG = logging.getLogger(__name__)


class Predictions(NamedTuple):
    """What N images show."""

    digits: NDArray[np.int64]  # [N], 0 to 9
    confidences: NDArray[np.float32]  # [N], the probability of that digit
    probabilities: NDArray[np.float32]  # [N, 10]
    logits: NDArray[np.float32]  # [N, 10]


class Classifier:
    """Reads digits with an exported model. Threads may share one, processes may pickle it."""

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
        (A model that MLflow has: `pipeline.registry.open_classifier`.)
        `provider` is one of ONNX Runtime, or `auto`: CUDA where that works, else the CPU.
        `threads`: 0 is one per core. UserError if the model is missing, another one or broken.
        """
        model = released_model() if model is None else model
        if sha256 is None:
            self._model = _verified(Path(model), provider, threads)
        else:
            self._model = OnnxModel(Path(model), provider, threads, sha256)
        self.sha256 = self._model.sha256  # of the file
        self.signature = self._model.signature  # what the file says of itself
        LOG.info("%s (SHA-256 %s) runs on %s", model, self.sha256, ", ".join(self.providers))

    @property
    def providers(self) -> list[str]:
        """Those of ONNX Runtime that it really uses."""
        return self._model.providers

    def predict(self, images: ArrayLike) -> Predictions:
        """The digits in images [N, 28, 28] of light ink on dark ground.

        Integers are from 0 to 255, floats from 0 to 1; a ValueError says what is wrong with others.
        """
        logits, probabilities = self._model.run(as_images(images))
        return Predictions(probabilities.argmax(1), probabilities.max(1), probabilities, logits)

    @staticmethod
    def from_image(picture: str | Path | Image.Image | NDArray[Any]) -> Images:
        """A picture of one digit in the form that MNIST has, uint8 [1, 28, 28].

        It is a file, a PIL image, or an array [H, W] or [H, W, 3]. It is made grey and, where the
        background is light, inverted; its ink is scaled to fit 20 x 20 pixels, the centre of mass
        in the middle. UserError if a file cannot be read, ValueError if an array is no picture.
        """
        if isinstance(picture, str | Path):
            return read_images(Path(picture), normalise=True)
        if not isinstance(picture, Image.Image):
            if picture.size == 0 or picture.shape[2:] not in [(), (3,)] or picture.ndim < 2:
                raise ValueError(f"a picture is [H, W] or [H, W, 3], not {list(picture.shape)}")
            picture = Image.fromarray(as_pixels(picture))
        return to_mnist_form(as_grey(picture))[None]


def _verified(path: Path, provider: str, threads: int) -> OnnxModel:
    """The model in a file, if it is the listed one. A release may replace both meanwhile."""
    try:
        return OnnxModel(path, provider, threads, _listed(path))
    except UserError:
        return OnnxModel(path, provider, threads, _listed(path))


def _listed(path: Path) -> str | None:
    """The SHA-256 that the file should have, as the file SHA256SUMS beside it says."""
    sums = path.parent / CHECKSUMS
    if not sums.exists():
        LOG.warning("%s is not verified: there is no %s beside it", path, sums.name)
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
