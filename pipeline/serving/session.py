"""An exported model in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.files import existing

onnxruntime.set_default_logger_severity(3)  # errors only

INTERFACE = [
    ("images", "tensor(uint8)"),
    ("logits", "tensor(float)"),
    ("probabilities", "tensor(float)"),
]


class OnnxModel:
    """A model that takes images, uint8 [N, 28, 28], and gives logits and probabilities [N, 10]."""

    def __init__(
        self, path: Path, provider: str = "CPUExecutionProvider", threads: int = 0
    ) -> None:
        """Load the file. `threads`: 0 is one per core. UserError if file or provider is no good."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(existing(path), options, [provider])
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise UserError(
                f"{path} cannot be loaded by ONNX Runtime: {_first_line(error)}"
            ) from error
        values = [*self.session.get_inputs(), *self.session.get_outputs()]
        if [(value.name, value.type) for value in values] != INTERFACE:
            found = ", ".join(value.name for value in values)
            raise UserError(
                f"{path} is no digit model: its inputs and outputs are {found}, not "
                + ", ".join(name for name, _ in INTERFACE)
            )
        self.providers: list[str] = self.session.get_providers()  # those really used
        if provider not in self.providers:
            raise UserError(
                f"ONNX Runtime cannot use {provider} here, only {', '.join(self.providers)}; "
                "set evaluate.provider in params.yaml"
            )

    def run(
        self, images: NDArray[np.uint8], batch_size: int = 250
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits and probabilities, float32 [N, 10] each, `batch_size` images at a time."""
        batches = [
            images[start : start + batch_size] for start in range(0, len(images), batch_size)
        ]
        answers = [self.session.run(None, {"images": batch}) for batch in batches]
        logits, probabilities = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return logits, probabilities


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
