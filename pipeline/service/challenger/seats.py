"""Starts the challenger's process, and gives each process of the service its place in the trial."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.service.challenger import copies, process
from pipeline.service.challenger.copies import CopyQueue
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.messages import copy_bytes
from pipeline.service.challenger.trial import ROW, Rules, Trial
from pipeline.service.pool import ServedModel
from pipeline.service.processes import allocate, start


@dataclass(frozen=True)
class Seat:
    """What a process of the service needs to take part in a trial; for spawned processes, too."""

    rules: Rules
    memory: Any  # of the rows of the trial
    process: int
    queue: Any  # memory of a CopyQueue
    connection: socket.socket

    def link(self, champion: ServedModel, challenger: ServedModel | None) -> Link:
        """The link of this process to the challenger's. None: that one names it later."""
        trial = Trial(self.rules, np.frombuffer(self.memory, ROW), self.process)
        queue = CopyQueue(self.queue)
        return Link(trial, champion, challenger, queue, self.connection)


@contextmanager
def seats(
    load: Callable[[], process.Model],
    champion: ServedModel,
    rules: Rules,
    count: int,
    *,
    json_log: bool = False,
) -> Iterator[list[Seat]]:
    """Run the challenger in a separate process; yields a seat for each process of the service.

    `load` returns the challenger, in its process. It must be small: see `processes.start`.
    `champion`: the model with which it is compared.
    """
    memory = allocate(count + 1, ROW)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    signature = champion.signature
    size = copy_bytes(signature.form, len(signature.labels))
    queues = [copies.allocate(size) for _ in range(count)]
    theirs = [pair[1] for pair in pairs]
    running = start(process.run, load, rules, memory, count, queues, theirs, json_log)
    for each in theirs:  # so that a send fails once the challenger's process has ended
        each.close()
    try:
        yield [
            Seat(rules, memory, number, queues[number], pair[0])
            for number, pair in enumerate(pairs)
        ]
    finally:
        running.kill()
        running.join()
        for own, _ in pairs:
            own.close()
