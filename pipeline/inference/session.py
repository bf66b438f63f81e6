"""Runs an exported model in ONNX Runtime.

Each batch is computed by one core, and many images in small batches, one per core: activations stay
in the core's cache, and cores never wait for each other, which costs most when other programs run
too. If the cores shared a single image, it would take slightly less time on an idle machine, but
threads that wait would keep the other cores busy.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing
from pipeline.inference.choice import choose, find_judged
from pipeline.inference.providers import (
    BATCH_SIZES,
    CPU,
    CUDA,
    MANY,
    Session,
    UnusableError,
    available_cores,
    load,
)
from pipeline.inference.signature import Signature

INTERFACE = [
    ("images", "tensor(uint8)"),
    ("logits", "tensor(float)"),
    ("probabilities", "tensor(float)"),
    ("novelty", "tensor(float)"),
]


class Answer(NamedTuple):
    """The outputs of a model for N images, float32."""

    logits: NDArray[np.float32]  # [N, classes]
    probabilities: NDArray[np.float32]  # [N, classes]
    novelty: NDArray[np.float32]  # [N]: the higher, the less an image looks like any class


class OnnxModel:
    """Maps images, uint8 [N, H, W], to logits, probabilities and novelty."""

    def __init__(
        self, path: Path, provider: str = CPU, threads: int = 0, sha256: str | None = None
    ) -> None:
        """Load the file and check its SHA-256, if given.

        `threads`: how many batches `run` computes at a time; 0 means one per core.

        `provider` is an execution provider of ONNX Runtime, or `auto` for the CPU provider and, for
        many images, the fastest that the release allows (see `choice`). UserError if the file or
        the provider cannot be used.
        """
        self._file, self._threads = existing(path).read_bytes(), threads
        self._provider = CPU if provider == "auto" else provider
        self.sha256 = hashlib.sha256(self._file).hexdigest()
        if sha256 not in (None, self.sha256):
            raise UserError(
                f"{path} has the SHA-256 {self.sha256}, not {sha256}: it is a different file"
            )
        self.judged = find_judged(path, self.sha256) if provider == "auto" else None
        try:
            self._start()
        except UnusableError as error:
            raise UserError(f"ONNX Runtime cannot use {provider} here: {error}") from error
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
        if shapes != [self.signature.form.shape, classes, classes, ()]:
            raise UserError(f"{path}: its model signature does not match its inputs and outputs")

    def _start(self) -> None:
        self._lock, self._for_many = Lock(), None
        self.session = load(self._provider, self._file, self._workers)

    @property
    def _workers(self) -> int:
        return self._threads or available_cores()

    @property
    def session_for_many(self) -> Session:
        """The session for `MANY` images or more, created when it is first used."""
        if self.judged is None:
            return self.session
        with self._lock:
            if self._for_many is None:
                form = self.signature.form
                self._for_many = choose(self._file, self.judged, form, self._workers, self.session)
        return self._for_many

    @property
    def providers(self) -> list[str]:
        """The execution providers that ONNX Runtime uses for many images on this machine."""
        providers: list[str] = self.session_for_many.get_providers()
        return providers

    def __getstate__(self) -> dict[str, Any]:
        """Everything except sessions: a copy in another process creates its own."""
        created = ("session", "_for_many", "_lock")
        return {name: value for name, value in vars(self).items() if name not in created}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state and create a session."""
        vars(self).update(state)
        self._start()

    def run(self, images: NDArray[np.uint8], batch_size: int | None = None) -> Answer:
        """The model's answer for images, uint8 [N, H, W], in batches of `batch_size` or fewer.

        The default is what is fastest with the provider.
        """
        session = self.session if len(images) < MANY else self.session_for_many
        batch_size = batch_size or BATCH_SIZES[session.get_providers()[0]]
        if len(images) <= batch_size:
            return _answer(session, images)
        workers = 1 if CUDA in session.get_providers() else self._workers
        size = min(batch_size, -(-len(images) // workers))
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        with ThreadPoolExecutor(workers) as threads:
            answers = list(threads.map(lambda batch: _answer(session, batch), batches))
        return Answer(*(np.concatenate(parts) for parts in zip(*answers, strict=True)))


def _answer(session: Session, images: NDArray[np.uint8]) -> Answer:
    return Answer(*session.run(Answer._fields, {"images": images}))
