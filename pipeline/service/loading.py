"""Loads models for the service, and verifies them before they answer.

A release is loaded if its files have their checksums, its signature comes from a trusted key, it
has the interface of the champion, and it answers its golden set as it did when it was released.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.core.errors import UserError
from pipeline.inference import golden
from pipeline.inference.classifier import Classifier
from pipeline.inference.providers import CPU, MANY
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.inference.trust import verify
from pipeline.registry.folder import Release, verify_checksums
from pipeline.service.pool import ServedModel

Reason = Literal["checksum", "signature", "interface", "golden", "broken"]
REASONS: tuple[Reason, ...] = ("checksum", "signature", "interface", "golden", "broken")
THREADS = 1  # per request: the service answers several requests at a time
# what clients rely on; thresholds and statistics may differ between releases
FIXED = ("interface", "model", "data_set", "noun", "labels", "height", "width", "ink")
LOG = logging.getLogger(__name__)


class LoadError(UserError):
    """Says why a model is refused."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.release: int | None = None  # the number of the refused release, if it is one


def load_release(
    release: Release, trust: Sequence[Path] = (), like: Signature | None = None
) -> ServedModel:
    """Load a release of the workspace, ready to answer.

    `trust`: public keys, one of which must have signed it; none: it need not be signed. `like`:
    the signature of the champion, whose interface it must have. LoadError if it is refused.
    """
    try:
        return _load_release(release, trust, like)
    except LoadError as error:
        error.release = release.number
        raise


def _load_release(release: Release, trust: Sequence[Path], like: Signature | None) -> ServedModel:
    try:
        verify_checksums(release.folder)
    except UserError as error:
        raise LoadError("checksum", str(error)) from error
    require_signature(release, trust)
    try:
        onnx_model = OnnxModel(release.model, CPU, THREADS, release.sha256)
    except UserError as error:
        raise LoadError("broken", str(error)) from error
    if like is not None:
        require_interface(onnx_model.signature, like, str(release.folder))
    require_golden_answers(release, onnx_model)
    classifier = Classifier(release.model, threads=THREADS, sha256=release.sha256)
    model = ServedModel(classifier, release.number, release.folder)
    warm_up(model)
    return model


def require_signature(release: Release, trust: Sequence[Path]) -> None:
    """LoadError unless one of these public keys has signed the release, if there are any keys."""
    if not trust:
        return
    try:
        signed = verify(release.folder, trust)
    except UserError as error:
        raise LoadError("signature", str(error)) from error
    if signed.get(release.model.name) != release.sha256:
        raise LoadError("signature", f"{release.model} is not the file that was signed")


def require_interface(found: Signature, expected: Signature, where: str) -> None:
    """LoadError unless clients can use the new model as they use the other one."""
    for name in FIXED:
        ours, theirs = getattr(expected, name), getattr(found, name)
        if ours != theirs:
            raise LoadError(
                "interface", f"{where}: {name} is {theirs!r}, but the service answers for {ours!r}"
            )


def require_golden_answers(release: Release, model: OnnxModel) -> None:
    """LoadError unless the model answers the release's golden set with the stored answers."""
    try:
        difference = golden.difference(release.golden, model)
    except UserError as error:
        raise LoadError("golden", str(error)) from error
    if difference is not None:
        raise LoadError("golden", f"{release.golden}: {difference}")


def warm_up(model: ServedModel) -> None:
    """Make a model compute few and many images, so that the first request is not slow."""
    form = model.signature.form
    for images in (1, MANY):
        model.classifier.predict(np.zeros((images, *form.shape), np.uint8))
