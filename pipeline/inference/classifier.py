"""An exported model as a library: images in, labels out.

from pipeline.inference import Classifier

classifier = Classifier()  # loads the released model and verifies its SHA-256
classifier.predict(images).labels  # images [N, H, W], in the form of the data set
classifier.predict(classifier.from_image("photo.jpg")).labels  # any picture of one character
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums
from pipeline.inference.answers import decide
from pipeline.inference.occlusion import occlusion_maps
from pipeline.inference.providers import CPU
from pipeline.inference.released import released_model
from pipeline.inference.session import Answer, OnnxModel
from pipeline.inference.signature import Signature
from pipeline.inference.trust import CHECKSUMS, verify_model
from pipeline.pictures.grey import as_grey
from pipeline.pictures.images import Images, as_images, as_pixels, dark_on_light, in_form
from pipeline.pictures.reading import read_images

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """The predictions for N images."""

    verdicts: list[str]  #: [N], such as `digit`, `unsure` or `not a digit`
    classes: NDArray[np.int64]  #: [N], the index of the most probable class
    labels: list[str | None]  #: [N], the name of that class; None if an image shows no class
    confidences: NDArray[np.float32]  #: [N], the probability of that class
    sets: NDArray[np.bool_]  #: [N, classes], the classes in the prediction set
    novelty: NDArray[np.float32]  #: [N], higher for images that look less like any class
    probabilities: NDArray[np.float32]  #: [N, classes]
    logits: NDArray[np.float32]  #: [N, classes]

    @classmethod
    def of(cls, signature: Signature, answer: Answer) -> "Predictions":
        """The predictions that follow from a model's answer, by the rules in its signature."""
        decisions = decide(signature, answer.probabilities, answer.novelty)
        return cls(
            **decisions._asdict(),
            **answer._asdict(),
            classes=answer.probabilities.argmax(1),
            confidences=answer.probabilities.max(1),
        )


class Classifier:
    """Classifies images with an exported model. Threads may share one, processes may pickle it."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        provider: str = "auto",
        threads: int = 0,
        sha256: str | None = None,
        verify: str | Path | Sequence[str | Path] = (),
    ) -> None:
        """Load a model file, by default the released model.

        The file must have the SHA-256 `sha256` or, by default, the one in SHA256SUMS next to it, if
        there is one. To load a model from MLflow, use `pipeline.registry.open_classifier`.
        `verify`: files with public keys; one of them must have signed the release of the model.
        `provider` is an execution provider of ONNX Runtime. `auto` is the CPU provider and, for
        many images, the fastest one that works here and is listed in providers.json next to the
        file. `threads`: 0 means one per core. UserError if the file is missing, broken or not the
        expected one.
        """
        model = released_model() if model is None else model
        keys = [Path(key) for key in ([verify] if isinstance(verify, str | Path) else verify)]
        if sha256 is None:
            self._model = _verified(Path(model), provider, threads, keys)
        else:
            if keys and verify_model(Path(model), keys) != sha256:
                raise UserError(f"{model} is signed, but does not have the SHA-256 {sha256}")
            self._model = OnnxModel(Path(model), provider, threads, sha256)
        self.sha256 = self._model.sha256  #: SHA-256 of the file
        self.signature = self._model.signature  #: the model signature in the file
        LOG.info("loaded %s, SHA-256 %s", model, self.sha256)

    @property
    def providers(self) -> list[str]:
        """The execution providers that ONNX Runtime uses for many images on this machine."""
        return self._model.providers

    @property
    def judged(self) -> list[str]:
        """The execution providers that `auto` may use."""
        return self._model.judged.providers if self._model.judged else [CPU]

    def predict(self, images: ArrayLike) -> Predictions:
        """Classify images [N, H, W] with light ink on a dark background, in the model's form.

        Integers range from 0 to 255, floats from 0 to 1. ValueError says what is wrong with others.
        Logs a warning if images look dark on light.
        """
        pixels = as_images(images, self.signature.form)
        if warning := dark_on_light(pixels):
            LOG.warning(warning)
        return Predictions.of(self.signature, self._model.run(pixels))

    def explain(self, images: ArrayLike) -> NDArray[np.float32]:
        """An occlusion map of each image, float32 [N, H, W].

        By how much the log-odds of the most probable class fall, in nats, if the ink around a pixel
        is erased; negative if they rise. Takes the same images as `predict`.
        """
        return occlusion_maps(self._model, as_images(images, self.signature.form))

    def from_image(self, picture: str | Path | Image.Image | NDArray[Any]) -> Images:
        """Convert a picture of one character to the model's form, uint8 [1, H, W].

        The picture is a file, a PIL image, or an array [H, W] or [H, W, 3]. It is converted to grey
        and inverted if its background is light. Its ink is scaled to the size in the data set and
        its centre of mass moved to the middle. UserError if a file cannot be read, ValueError if an
        array is not a picture or has no ink.
        """
        form = self.signature.form
        if isinstance(picture, str | Path):
            return read_images(Path(picture), form, normalise=True)
        if not isinstance(picture, Image.Image):
            if picture.size == 0 or picture.shape[2:] not in [(), (3,)] or picture.ndim < 2:
                raise ValueError(
                    f"a picture must be [H, W] or [H, W, 3], not {list(picture.shape)}"
                )
            picture = Image.fromarray(as_pixels(picture))
        return in_form([as_grey(picture)], form, normalise=True)


def _verified(path: Path, provider: str, threads: int, keys: Sequence[Path]) -> OnnxModel:
    """Load and verify a model. Retry once: a release may replace file and checksums meanwhile."""
    try:
        model = OnnxModel(path, provider, threads, digest := _expected(path, keys))
    except UserError:
        model = OnnxModel(path, provider, threads, digest := _expected(path, keys))
    if digest is None:
        LOG.warning("%s is not verified: there is no %s next to it", path, CHECKSUMS)
    return model


def _expected(path: Path, keys: Sequence[Path]) -> str | None:
    """The SHA-256 that the file must have; None if nothing says so."""
    return verify_model(path, keys) if keys else _listed(path)


def _listed(path: Path) -> str | None:
    """The file's SHA-256 in the SHA256SUMS next to it; None without SHA256SUMS."""
    sums = path.parent / CHECKSUMS
    if not sums.exists():
        return None
    if digest := read_checksums(sums).get(path.name):
        return digest
    raise UserError(f"{sums} does not list {path.name}")
