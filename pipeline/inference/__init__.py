"""An exported model in ONNX Runtime, no torch: `Classifier` is the library.

from pipeline.inference import Classifier

`session` runs the ONNX file, `signature` is what the file says of itself, `classifier` takes images
as people have them, `answers` names the classes, `released` finds the released model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier as Classifier


def __getattr__(name: str) -> Any:
    """`Classifier`, imported when it is asked for: the stages need `session` alone."""
    if name == "Classifier":
        from pipeline.inference.classifier import Classifier

        return Classifier
    raise AttributeError(name)
