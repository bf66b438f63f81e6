"""The choice of an execution provider for many images, among those that a release allows.

The gate judges the providers that `evaluate` has measured on the test set. The release lists them
in providers.json next to the model, with a few images. The fastest of them that works on this
machine is chosen, if it answers these images as the CPU provider does.
"""

import base64
import logging
import zlib
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError, first_line
from pipeline.core.reports import Report
from pipeline.core.task import ImageForm
from pipeline.inference.providers import CPU, CUDA, OPENVINO, Session, UnusableError, load

RECORD = "providers.json"
FASTEST_FIRST = (CUDA, OPENVINO)
LOG = logging.getLogger(__name__)


class Judged(Report):
    """The providers that the gate judged for a released model."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the ONNX file
    providers: list[str]  #: names of the providers; the first one computed the metrics
    max_logit_difference: float  #: largest tolerated difference of a logit from the first one's
    images: str  #: images to compare answers on: uint8 [N, H, W], zlib, Base64

    @classmethod
    def of(cls, images: NDArray[np.uint8], **facts: object) -> Self:
        """The record with these images, [N, H, W]."""
        packed = base64.b64encode(zlib.compress(images.tobytes(), 9)).decode()
        return cls.model_validate({**facts, "images": packed})

    @classmethod
    def find(cls, model: Path, sha256: str) -> Self | None:
        """Read the record next to a model; None if there is none or it is of another model."""
        path = model.with_name(RECORD)
        if not path.exists():
            return None
        try:
            found = cls.read(path)
        except UserError as error:
            LOG.warning("only %s is used: %s", CPU, error)
            return None
        return found if found.model_sha256 == sha256 else None

    def samples(self, form: ImageForm) -> NDArray[np.uint8]:
        """The images, uint8 [N, H, W]. ValueError or zlib.error if they are damaged."""
        pixels = zlib.decompress(base64.b64decode(self.images))
        return np.frombuffer(pixels, np.uint8).reshape(-1, *form.shape)


def choose(file: bytes, judged: Judged, form: ImageForm, workers: int, cpu: Session) -> Session:
    """The session of the fastest provider, which may be that of the CPU provider, `cpu`."""
    for name in FASTEST_FIRST:
        try:
            if name not in judged.providers:
                raise UnusableError("no release has judged its answers")
            session = load(name, file, workers)
            _compare(session, cpu, judged.samples(form), judged.max_logit_difference)
        except Exception as error:  # whatever a driver or plugin does, the CPU provider works
            LOG.info("%s is not used: %s", name, first_line(error))
            continue
        LOG.info("many images are computed by %s", name)
        return session
    return cpu


def _compare(session: Session, cpu: Session, images: NDArray[np.uint8], tolerance: float) -> None:
    """UnusableError unless both sessions give the same logits for the images."""
    found, expected = (run.run(["logits"], {"images": images})[0] for run in (session, cpu))
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance:
        raise UnusableError(f"its logits differ by {difference:.3g} from those of {CPU}")
