"""Runs an exported model in ONNX Runtime.

Each batch is computed by one core, and many images in small batches, one per core: activations stay
in the core's cache, and cores never wait for each other, which costs most when other programs run
too. If the cores shared a single image, it would take slightly less time on an idle machine, but
threads that wait would keep the other cores busy.
"""

import ctypes
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import DISTRIBUTION
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing
from pipeline.inference.signature import Signature

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"ONNX Runtime is missing: install {DISTRIBUTION}[cpu] or {DISTRIBUTION}[gpu]",
        name=error.name,
    ) from error

onnxruntime.set_default_logger_severity(3)  # errors only

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
INTERFACE = [
    ("images", "tensor(uint8)"),
    ("logits", "tensor(float)"),
    ("probabilities", "tensor(float)"),
]
Answer = tuple[NDArray[np.float32], NDArray[np.float32]]


class OnnxModel:
    """Maps images, uint8 [N, H, W], to logits and probabilities, float32 [N, classes]."""

    def __init__(
        self, path: Path, provider: str = CPU, threads: int = 0, sha256: str | None = None
    ) -> None:
        """Load the file and check its SHA-256, if given.

        `threads`: how many batches `run` computes at a time; 0 means one per core.

        `provider` is an execution provider of ONNX Runtime, or `auto` for CUDA where it works and
        otherwise the CPU. UserError if the file or the provider cannot be used.
        """
        self._file, self._provider, self._threads = existing(path).read_bytes(), provider, threads
        self.sha256 = hashlib.sha256(self._file).hexdigest()
        if sha256 not in (None, self.sha256):
            raise UserError(
                f"{path} has the SHA-256 {self.sha256}, not {sha256}: it is a different file"
            )
        try:
            self.session = _load(self._file, provider)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base class
            raise UserError(
                f"{path} cannot be loaded by ONNX Runtime: {first_line(error)}"
            ) from error
        values = [*self.session.get_inputs(), *self.session.get_outputs()]
        if [(value.name, value.type) for value in values] != INTERFACE:
            found = ", ".join(value.name for value in values)
            raise UserError(
                f"{path} is not a model of this pipeline: its inputs and outputs are {found}, not "
                + ", ".join(name for name, _ in INTERFACE)
            )
        try:
            metadata = self.session.get_modelmeta().custom_metadata_map
            self.signature = Signature.from_metadata(metadata)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        shapes = [tuple(value.shape[1:]) for value in values]
        classes = (len(self.signature.labels),)
        if shapes != [self.signature.form.shape, classes, classes]:
            raise UserError(f"{path}: its model signature does not match its inputs and outputs")
        if provider not in (*self.providers, "auto"):
            raise UserError(
                f"ONNX Runtime cannot use {provider} here, only {', '.join(self.providers)}"
            )

    @property
    def providers(self) -> list[str]:
        """The execution providers that ONNX Runtime actually uses on this machine."""
        providers: list[str] = self.session.get_providers()
        return providers

    @property
    def _workers(self) -> int:
        return (self._threads or available_cores()) if self.providers[0] == CPU else 1

    def __getstate__(self) -> dict[str, Any]:
        """Everything except ONNX Runtime's session: a copy in another process creates its own."""
        return {name: value for name, value in vars(self).items() if name != "session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state and create a session."""
        vars(self).update(state)
        self.session = _load(self._file, self._provider)

    def run(self, images: NDArray[np.uint8], batch_size: int = 32) -> Answer:
        """Logits and probabilities, float32 [N, classes], in batches of `batch_size` or fewer."""
        if len(images) <= batch_size:
            return _answer(self.session, images)
        size = min(batch_size, -(-len(images) // self._workers))
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        with ThreadPoolExecutor(self._workers) as workers:
            answers = list(workers.map(lambda batch: _answer(self.session, batch), batches))
        logits, probabilities = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return logits, probabilities


def _load(file: bytes, provider: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if provider == "auto":
        provider = CUDA if _may_have_cuda() else CPU
    if provider == CUDA:
        with redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()  # from the nvidia-* packages, which torch has not loaded
    settings = [{"use_tf32": "0"}] if provider == CUDA else None  # full float32, as on the CPU
    return onnxruntime.InferenceSession(file, options, [provider], settings)


def _may_have_cuda() -> bool:
    """Whether ONNX Runtime has CUDA support and the machine has NVIDIA's driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return CUDA in onnxruntime.get_available_providers()


def _answer(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> Answer:
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
    return logits, probabilities


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
