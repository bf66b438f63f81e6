"""python -m benchmarks.service.litserve_server FILE PORT: an ONNX file served by LitServe.

LitServe as its guide shows it: one process for HTTP, a worker per core that holds the model.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from litserve import LitAPI, LitServer
from numpy.typing import NDArray

from pipeline.inference.providers import CPU, available_cores, load


class Model(LitAPI):  # type: ignore[misc]
    """Images in JSON to logits and probabilities in JSON."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def setup(self, device: str) -> None:
        """Load the model in a worker."""
        self.session = load(CPU, Path(self.path).read_bytes(), 1)

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.uint8]:
        """The images, [N, H, W]."""
        return np.asarray(request["images"], np.uint8)

    def predict(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Logits and probabilities, [N, classes] each."""
        found: list[NDArray[np.float32]] = self.session.run(
            ["logits", "probabilities"], {"images": images}
        )
        return found

    def encode_response(self, output: list[NDArray[np.float32]]) -> dict[str, Any]:
        """The response's body."""
        logits, probabilities = output
        return {"logits": logits.tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    server = LitServer(Model(sys.argv[1]), accelerator="cpu", workers_per_device=available_cores())
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
