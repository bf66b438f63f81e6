"""The challenger's process: it answers copies of requests, and compares its answers.

Whatever the challenger does, it does here: one that is slow, hangs or crashes takes nothing from
the processes that answer clients, least of all Python's global lock.
"""

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import parent_process
from typing import Any, Protocol

import numpy as np

from pipeline.inference.classifier import Predictions
from pipeline.inference.session import Answer
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images
from pipeline.service import log
from pipeline.service.challenger.awaiting import POLL, Awaited
from pipeline.service.challenger.copies import CopyQueue
from pipeline.service.challenger.messages import (
    NO_REPLY,
    Copy,
    outcomes_of,
    pack_reply,
    unpack_copy,
)
from pipeline.service.challenger.trial import ROW, Rules, Trial

LOG = logging.getLogger(__name__)
LOWEST = 19  # priority
REPLY_SECONDS = 0.1  # for a process of the service to make room for a reply


class Model(Protocol):
    """What the process needs of a classifier."""

    @property
    def signature(self) -> Signature:
        """Its model signature."""

    def predict(self, images: Images) -> Predictions:
        """The predictions for images, uint8 [N, H, W]."""


def run(
    load: Callable[[], Model],
    rules: Rules,
    memory: Any,
    process: int,
    queues: Sequence[Any],
    sockets: Sequence[socket.socket],
    json_log: bool,
) -> None:
    """Answer copies from the processes of the service, until it ends.

    `load` returns the challenger. `memory`: of the trial's rows; this process has that at
    `process`. `queues`: the memory of a CopyQueue for each process of the service. `sockets`: where
    each says that it has put a copy, and gets replies.
    """
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    log.set_up(json_log=json_log)
    if not rules.is_canary:
        os.nice(LOWEST)
    trial = Trial(rules, np.frombuffer(memory, ROW), process)
    model, looked = _load(load, trial), time.monotonic()
    with selectors.DefaultSelector() as selector:
        for each, queue in zip(sockets, queues, strict=True):
            each.settimeout(REPLY_SECONDS)
            selector.register(each, selectors.EVENT_READ, CopyQueue(queue))
        while model is not None:
            for key, _ in selector.select(POLL if isinstance(model, Awaited) else None):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.recv(1)
                while (content := key.data.take()) is not None:
                    _answer(key.fileobj, unpack_copy(content, model.signature.form), model, trial)
            if isinstance(model, Awaited) and time.monotonic() >= looked + POLL:
                looked = time.monotonic()
                if model.is_over():
                    trial.start_over()
                    model = _load(load, trial)


def _load(load: Callable[[], Model], trial: Trial) -> Model | None:
    """Load the challenger and start its trial; None, and the trial ends, if that fails."""
    try:
        model = load()
        # the first call is slower
        model.predict(np.zeros((1, *model.signature.form.shape), np.uint8))
    except Exception:
        LOG.exception("the challenger cannot be loaded")
        trial.end("crashed")
        log.flush()
        return None
    trial.start(*((model.release, model.sha256) if isinstance(model, Awaited) else ()))
    return model


def _answer(connection: socket.socket, copy: Copy, model: Model, trial: Trial) -> None:
    """Answer one copy of a request, and compare."""
    if trial.reason is not None:
        return
    begun = time.perf_counter()
    try:
        predictions = model.predict(copy.images)
    except Exception:
        if not trial.total("failures").any():  # of many failures, the first one is enough
            LOG.exception("the challenger failed")
        trial.record_failure("error")
        _send(connection, copy.number, None)
        return
    seconds = time.perf_counter() - begun
    answer = Answer(predictions.logits, predictions.probabilities, predictions.novelty)
    _send(connection, copy.number, answer)
    found = outcomes_of(model.signature, predictions, len(copy.images))
    trial.record_comparison(copy.outcomes, found, (copy.seconds, seconds))


def _send(connection: socket.socket, number: int, answer: Answer | None) -> None:
    if number != NO_REPLY:
        with suppress(OSError):  # the process that asked has ended, or reads nothing
            connection.send(pack_reply(number, answer))


def _end_with_parent() -> None:
    """End this process, even if the challenger hangs, when the service has ended."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
