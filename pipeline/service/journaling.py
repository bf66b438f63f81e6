"""The journal of the service: it keeps what was answered, and takes people's labels."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from pipeline.collection.votes import REVIEWER, USER, Vote
from pipeline.inference.classifier import Predictions
from pipeline.inference.signature import Signature
from pipeline.journal import review
from pipeline.journal.columns import Answered, Model, Ticket
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import is_from, is_kept, uuid7
from pipeline.journal.keeping import JournalSettings, Source
from pipeline.journal.writing import Writer
from pipeline.pictures.images import Images
from pipeline.service.errors import BUSY
from pipeline.service.journal_metrics import JournalMetrics
from pipeline.service.pool import ServedModel
from pipeline.service.rate_limit import RateLimit

VOTES_PER_MINUTE = 60  # of each client, in each process
FRESH = 5.0  # seconds for which the review queue is reused


class Journal:
    """The journal of this process of the service. Its methods are called from the event loop."""

    def __init__(
        self, settings: JournalSettings, signature: Signature, metrics: JournalMetrics
    ) -> None:
        """`signature`: of any model of the service: all have the same labels.

        UserError if the folder cannot be a journal.
        """
        self._folder, self._keeping = JournalFolder.create(settings.root), settings.keeping
        self._labels = {*signature.labels, signature.foreign}
        self._foreign, self._metrics = signature.foreign, metrics
        self._writer = Writer(self._folder, self._keeping, metrics.record)
        self._rate = RateLimit(VOTES_PER_MINUTE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue, self._found = review.Queue([]), -FRESH
        self._entry_model = lru_cache(8)(_entry_model)

    def start(self) -> None:
        """Write from now on, in a thread."""
        self._writer.start()

    def close(self) -> None:
        """Write what waits, and stop."""
        self._writer.close()

    def write(self) -> None:
        """Write what waits now."""
        self._writer.write()

    @property
    def notice(self) -> str:
        """What is kept, for the people whose pictures it is."""
        share, days = self._keeping.share, self._keeping.days
        some = "" if share >= 1 else f"{100 * share:g} % of "
        return (
            f"To check and improve the model, this service keeps {some}the pictures that it "
            f"classifies, as the model sees them, with its answers, for up to {days:g} days, and "
            "longer if somebody labels them. It keeps a code of your address, not the address."
        )

    def begin(self, source: Source, address: str, images: int | None = None) -> Ticket | None:
        """A ticket for a request; None if it has one image, which is not to be kept."""
        first = uuid7(self._folder.key)
        if images == 1 and not is_kept(first, self._keeping.share):
            return None
        return Ticket(first, time.time(), source, address)

    def record(
        self,
        ticket: Ticket,
        model: ServedModel,
        images: Images,
        predictions: Predictions,
        seconds: float,
        challenger: tuple[str, Predictions] | None = None,
    ) -> None:
        """Keep the answer of a model to images, [N, H, W], which took `seconds`.

        `challenger`: the version of the other model, and its predictions for the first images.
        """
        self._writer.add(
            Answered(ticket, self._entry_model(model), images, predictions, seconds, challenger)
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for which no request waits."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def vote(self, identifier: str, label: str, address: str) -> None:
        """Take a user's label. HTTPException if id or label are wrong, or there are too many."""
        client = self._admit(identifier, address)
        self._take(identifier, label, f"{USER}{client}")

    def review_label(self, identifier: str, label: str, name: str) -> None:
        """Take a reviewer's label. HTTPException if id or label are wrong."""
        self._require(identifier)
        self._take(identifier, label, f"{REVIEWER}{name}")

    def remove(self, identifier: str, address: str) -> None:
        """Remove an entry. HTTPException if there is no such id, or the disk is full."""
        self._admit(identifier, address)
        try:
            self._folder.remove(identifier)
        except OSError as error:
            raise HTTPException(503, f"the journal cannot be written: {error.strerror}") from error
        self._metrics.record_removal()

    def queue(self) -> review.Queue:
        """The review queue, as of at most FRESH seconds ago. Takes a while: call it in a thread.

        HTTPException if the folder of the journal cannot be read.
        """
        if time.monotonic() > self._found + FRESH:
            try:
                self._folder.restore()
                self._queue = review.find_queue(self._folder.root, self._foreign)
            except OSError as error:
                raise HTTPException(503, f"the journal cannot be read: {error.strerror}") from error
            self._found = time.monotonic()
        return self._queue

    def images(self, items: list[review.Item]) -> dict[str, NDArray[Any]]:
        """The images [H, W] of these items, by id. Call it in a thread, too."""
        return review.images_of(self._folder.root, [item.id for item in items])

    def _admit(self, identifier: str, address: str) -> str:
        """The client's hash. HTTPException if the id is wrong, or the client acts too often."""
        client = self._folder.client(address)
        if not self._rate.allows(client):
            most = f"at most {VOTES_PER_MINUTE} a minute are accepted; try again later"
            raise HTTPException(429, most, {"Retry-After": "60"})
        self._require(identifier)
        return client

    def _require(self, identifier: str) -> None:
        if not is_from(identifier, self._folder.key):
            raise HTTPException(404, f"no id {identifier[:40]!r} in this journal")

    def _take(self, identifier: str, label: str, voter: str) -> None:
        if label not in self._labels:
            known = ", ".join(sorted(self._labels))
            raise HTTPException(400, f"label: {label[:40]!r} is none of {known}")
        if not self._writer.vote(Vote(identifier, datetime.now(UTC), voter, label)):
            raise HTTPException(503, *BUSY)


def _entry_model(model: ServedModel) -> Model:
    return Model(model.name, model.version, model.sha256, model.release)
