"""What is done with an exported model: ONNX Runtime, no torch.

`classifier` is the library; `session` runs the file, `images` and `sources` make what it takes.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.serving.classifier import Classifier as Classifier


class Format(StrEnum):
    """How `predict` writes its answers."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


def __getattr__(name: str) -> Any:
    """`Classifier`, imported when it is asked for: the stages need `session` alone."""
    if name == "Classifier":
        from pipeline.serving.classifier import Classifier

        return Classifier
    raise AttributeError(name)
