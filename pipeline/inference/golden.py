"""Golden answers: images with the answers of a released model, which the same file must repeat.

A release contains them. The service compares them before a loaded model answers any request.
"""

import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError, first_line
from pipeline.core.report_file import Report
from pipeline.inference.choice import pack, unpack
from pipeline.inference.session import OnnxModel

IMAGES = 100
TOLERANCE = (
    0.01  # processors round differently: by 0.0001 at most, and a wrong model by more than 1
)


class Golden(Report):
    """Images and the answers of a model, next to its ONNX file."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the ONNX file
    images: str  #: uint8 [N, H, W], zlib, Base64
    labels: list[int] | None  #: true classes [N], if known
    logits: list[list[float]]  #: answers [N, classes]
    novelty: list[float]  #: answers [N]
    max_logit_difference: float  #: largest tolerated difference of a logit
    max_novelty_difference: float  #: largest tolerated difference of novelty


def make(
    model: OnnxModel, images: NDArray[np.uint8], labels: NDArray[np.integer[Any]] | None = None
) -> dict[str, Any]:
    """The golden answers of a model for the first 100 of these images, uint8 [N, H, W], as JSON.

    They are computed by ONNX Runtime's session for few images, as `difference` does.
    """
    images = images[:IMAGES]
    logits, novelty = _answer(model, images)
    return Golden(
        model_sha256=model.sha256,
        images=pack(images),
        labels=None if labels is None else [int(label) for label in labels[:IMAGES]],
        logits=[[_short(value) for value in row] for row in logits],
        novelty=[_short(value) for value in novelty],
        max_logit_difference=TOLERANCE,
        max_novelty_difference=TOLERANCE,
    ).model_dump(mode="json")


def difference(path: Path, model: OnnxModel) -> str | None:
    """How a model's answers differ from the golden ones in this file; None if they do not.

    UserError if the file is missing or damaged.
    """
    golden = Golden.read(path)
    try:
        images = unpack(golden.images, model.signature.form)
    except (ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): restore the release") from error
    logits, novelty = _answer(model, images)
    for title, found, stated, tolerance in (
        ("logits", logits, np.array(golden.logits), golden.max_logit_difference),
        ("novelty", novelty, np.array(golden.novelty), golden.max_novelty_difference),
    ):
        if found.shape != stated.shape or not found.size:
            return f"{title} have the shape {found.shape}, not {stated.shape}"
        largest = float(np.abs(found - stated).max())
        if not largest <= tolerance:  # also if it is not a number
            return f"{title} differ by {largest:.3g}, more than {tolerance:g}"
    return None


def _answer(
    model: OnnxModel, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [N, classes] and novelty [N], from the session for few images."""
    logits, novelty = model.session.run(["logits", "novelty"], {"images": images})
    return logits, novelty


def _short(value: np.float32) -> float:
    return float(f"{value:.7g}")
