"""The reports that the page shows, if they are about the model that is served."""

from pathlib import Path

import orjson

from pipeline.core.paths import BACKPROP, EVALUATION, METRICS, SUBJECT

OF_THE_MODEL = {
    path.name: path
    for path in (
        METRICS,
        EVALUATION / "curves.png",
        EVALUATION / "confusion.png",
        EVALUATION / "misclassified.png",
    )
}
OTHERS = {"loss.svg": BACKPROP / "loss.svg"}  # of the network of eight weights


def find(name: str, model_sha256: str) -> Path | None:
    """The file of a figure; None if there is none, or if it is about another model."""
    path = OTHERS.get(name)
    if name in OF_THE_MODEL and subject() == model_sha256:
        path = OF_THE_MODEL[name]
    return path if path is not None and path.is_file() else None


def subject() -> str | None:
    """The SHA-256 of the model that the reports are about now, if they say so."""
    try:
        content = orjson.loads(SUBJECT.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("model_sha256") if isinstance(content, dict) else None
