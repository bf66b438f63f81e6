"""Trials of a challenger without its process."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from pipeline.service.challenger import copies, messages
from pipeline.service.challenger.copies import CopyQueue
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.messages import Copy
from pipeline.service.challenger.trial import ROW, Rules, Trial
from pipeline.service.pool import ServedModel


class Far:
    """The challenger's end of a link."""

    def __init__(self, model: ServedModel, memory: Any, connection: socket.socket) -> None:
        self.queue, self.connection = CopyQueue(memory), connection
        self._form = model.signature.form

    def copy(self) -> Copy:
        """The first copy in the queue."""
        content = self.queue.take()
        assert content is not None
        return messages.unpack_copy(content, self._form)


def trials(count: int, rules: Rules) -> list[Trial]:
    """The same trial, as each of its processes sees it."""
    rows = np.zeros(count, ROW)
    return [Trial(rules, rows, process) for process in range(count)]


@contextmanager
def linked(model: ServedModel, rules: Rules) -> Iterator[tuple[Link, Far]]:
    """A link to no process, and its other end; a model is compared with itself."""
    size = messages.copy_bytes(model.signature.form, len(model.signature.labels))
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    memory, (trial,) = copies.allocate(size), trials(1, rules)
    with closing(near), closing(far):
        yield Link(trial, model, model, CopyQueue(memory), near), Far(model, memory, far)
