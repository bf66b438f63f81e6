"""What each process of the service has of a trial: it sends copies, and waits for answers."""

import asyncio
import hashlib
import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pipeline.inference.classifier import Predictions
from pipeline.inference.session import Answer
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images
from pipeline.service.challenger.copies import CopyQueue
from pipeline.service.challenger.messages import (
    MOST_BYTES,
    NO_REPLY,
    Copy,
    comparable,
    outcomes_of,
    pack_copy,
    unpack_reply,
)
from pipeline.service.challenger.trial import Trial
from pipeline.service.pool import VERSION_LENGTH, ServedModel

WAKE = b"!"  # says that the queue has a copy
SLICES = 10  # of the deadline: while the whole machine stands still, only one of them passes


class Named(NamedTuple):
    """A challenger that only its process has loaded."""

    release: int
    sha256: str
    signature: Signature

    @property
    def version(self) -> str:
        """As of a ServedModel."""
        return self.sha256[:VERSION_LENGTH]


class Link:
    """The connection of a process of the service to the challenger's process.

    Nothing waits to send a copy: while the queue is full, copies are dropped.
    """

    def __init__(
        self,
        trial: Trial,
        champion: ServedModel,
        challenger: ServedModel | None,
        queue: CopyQueue,
        connection: socket.socket,
    ) -> None:
        """`champion`: the model with which the challenger is compared.

        `challenger`: None if its process names it later. `queue`: to the process that runs the
        challenger. `connection`: of datagrams, to wake it and to get its replies.
        """
        self.trial, self.model = trial, challenger
        self._named: Named | None = None  # the challenger of the trial with the number _turn
        self._turn = trial.turn
        self._champion = None if challenger is None else champion.sha256
        self._queue, self._connection = queue, connection
        connection.setblocking(False)
        self._signature = signature = champion.signature
        self._classes = len(signature.labels)
        self._most = comparable(signature.form, self._classes)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        self._numbers = _numbers()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def challenger(self) -> "ServedModel | Named | None":
        """The challenger; None until it is named."""
        self._follow()
        if self._named is None and (named := self.trial.named) is not None:
            self._named = Named(*named, self._signature)
        return self.model or self._named

    def takes(self, champion: ServedModel, request_id: str) -> bool:
        """Whether the challenger is to answer the request with this id to the champion."""
        rules = self.trial.rules
        return (
            rules.is_canary
            and share_of(request_id) < rules.percent / 100
            and self._is_running(champion)
        )

    def compare(
        self, champion: ServedModel, images: Images, predictions: Predictions, seconds: float
    ) -> None:
        """Send the challenger a copy of what the champion has answered in `seconds`.

        In a canary, only what the challenger answers is compared.
        """
        if not self.trial.rules.is_canary and self._is_running(champion):
            self._send(NO_REPLY, images, predictions, seconds)

    async def ask(
        self, images: Images, predictions: Predictions, seconds: float
    ) -> Predictions | None:
        """The challenger's predictions for the images of a request, [N, H, W].

        None if they are too many, or if it has no answer in time: the client then gets the
        champion's predictions, which have taken `seconds`. Call it from the event loop.
        """
        if len(images) > self._most:
            return None
        try:
            answer = await self._exchange(images, predictions, seconds)
        except TimeoutError:
            self.trial.record_failure("deadline")
            return None
        if answer is None:
            return None
        self.trial.count("answered")
        return Predictions.of(self._signature, answer)

    async def compare_and_wait(
        self, champion: ServedModel, images: Images, predictions: Predictions, seconds: float
    ) -> Predictions | None:
        """Compare as `compare` does; the challenger's predictions for the first images, if any."""
        if self.trial.rules.is_canary or not self._is_running(champion):
            return None
        try:
            answer = await self._exchange(images, predictions, seconds)
        except TimeoutError:  # nobody waits for it
            return None
        return None if answer is None else Predictions.of(self._signature, answer)

    async def _exchange(
        self, images: Images, predictions: Predictions, seconds: float
    ) -> Answer | None:
        """The challenger's answer to a copy; None if it fails. TimeoutError if it is late."""
        self._listen()
        number = next(self._numbers)
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            if not self._send(number, images, predictions, seconds):
                return None
            for _ in range(SLICES):
                await asyncio.wait([future], timeout=self.trial.rules.deadline / SLICES)
                self._receive()
                if future.done():
                    return future.result()
            raise TimeoutError
        finally:
            del self._waiting[number]

    def _is_running(self, champion: ServedModel) -> bool:
        self._follow()
        if not self.trial.running:
            return False
        if self._champion is None:
            self._champion = champion.sha256
        if champion.sha256 != self._champion:
            self.trial.end("replaced")
            return False
        return True

    def _follow(self) -> None:
        """Forget the challenger of a trial that is over, once there is another trial."""
        if self._turn != (turn := self.trial.turn):
            self._turn, self._named, self._champion = turn, None, None

    def _send(self, number: int, images: Images, predictions: Predictions, seconds: float) -> bool:
        """Send a copy; whether the queue had room."""
        images = images[: self._most]
        outcomes = outcomes_of(self._signature, predictions, len(images))
        is_put = self._queue.put(pack_copy(Copy(number, seconds, outcomes, images)))
        if not is_put:
            self.trial.count("dropped")
        try:
            self._connection.send(WAKE)
        except ConnectionError:
            self.trial.end("crashed")
            return False
        except OSError:  # it has yet to receive earlier ones
            pass
        return is_put

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop.add_reader(self._connection.fileno(), self._receive)

    def _receive(self) -> None:
        """Receive all replies that have arrived."""
        with suppress(OSError):  # no more, or the challenger's process has ended
            while True:
                datagram = self._connection.recv(2 * MOST_BYTES)
                number, answer = unpack_reply(datagram, self._classes)
                future = self._waiting.get(number)
                if future is not None and not future.done():  # else it comes too late
                    future.set_result(answer)


def share_of(request_id: str) -> float:
    """A number from 0 to 1 that depends on the id alone: equal ids get the same model."""
    digest = hashlib.sha256(request_id.encode(errors="replace")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _numbers() -> Iterator[int]:
    """Numbers of copies. A process that replaces another one never repeats the other's."""
    return itertools.count(random.SystemRandom().randrange(NO_REPLY + 1, 2**62))
