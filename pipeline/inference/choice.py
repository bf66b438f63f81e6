"""The choice of an execution provider for many images, among those that a release allows.

The gate judges the providers that `evaluate` has measured on the test set. The release lists them
in providers.json next to the model, with a few images. The fastest of them that works on this
machine is chosen, if it answers these images as the CPU provider does.
"""

import base64
import logging
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError, first_line
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders
from pipeline.core.task import ImageForm
from pipeline.inference.providers import CPU, CUDA, OPENVINO, Session, UnusableError, load

FASTEST_FIRST = (CUDA, OPENVINO)
LOG = logging.getLogger(__name__)


def find_judged(model: Path, sha256: str) -> JudgedProviders | None:
    """The record next to a model; None if there is none or it is about another model."""
    path = model.with_name(JUDGED_PROVIDERS)
    if not path.exists():
        return None
    try:
        found = JudgedProviders.read(path)
    except UserError as error:
        LOG.warning("only %s is used: %s", CPU, error)
        return None
    return found if found.model_sha256 == sha256 else None


def pack(images: NDArray[np.uint8]) -> str:
    """Images [N, H, W] as text for the record."""
    return base64.b64encode(zlib.compress(images.tobytes(), 9)).decode()


def unpack(text: str, form: ImageForm) -> NDArray[np.uint8]:
    """The images [N, H, W] of such a text. ValueError or zlib.error if it is damaged."""
    pixels = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(pixels, np.uint8).reshape(-1, *form.shape)


def choose(
    file: bytes, judged: JudgedProviders, form: ImageForm, workers: int, cpu: Session
) -> Session:
    """The session of the fastest provider, which may be that of the CPU provider, `cpu`."""
    for name in FASTEST_FIRST:
        try:
            if name not in judged.providers:
                raise UnusableError("no release has judged its answers")
            session = load(name, file, workers)
            _compare(session, cpu, unpack(judged.images, form), judged)
        except Exception as error:  # whatever a driver or plugin does, the CPU provider works
            LOG.info("%s is not used: %s", name, first_line(error))
            continue
        LOG.info("many images are computed by %s", name)
        return session
    return cpu


def _compare(
    session: Session, cpu: Session, images: NDArray[np.uint8], judged: JudgedProviders
) -> None:
    """UnusableError unless both sessions give the same logits and novelty for the images."""
    tolerances = {
        "logits": judged.max_logit_difference,
        "novelty": judged.max_novelty_difference,
    }
    found, expected = (run.run([*tolerances], {"images": images}) for run in (session, cpu))
    for (name, tolerance), ours, theirs in zip(tolerances.items(), found, expected, strict=True):
        difference = float(np.abs(ours - theirs).max())
        if not difference <= tolerance:
            raise UnusableError(f"its {name} differ by {difference:.3g} from those of {CPU}")
