"""Runs exported models in ONNX Runtime, without torch.

from pipeline.inference import Classifier

`session` runs the ONNX file, `signature` reads its metadata, `classifier` accepts arrays and
pictures, `answers` decides what they show, `fields` names the fields of an answer, `occlusion`
explains it, and `released` finds the released model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier as Classifier


def __getattr__(name: str) -> Any:
    """Import `Classifier` on first use: the stages require only `session`."""
    if name == "Classifier":
        from pipeline.inference.classifier import Classifier

        return Classifier
    raise AttributeError(name)
