"""Writes a journal from a thread, so that no request waits for the disk."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

import pyarrow as pa

from pipeline.collection.votes import Vote
from pipeline.journal.columns import Answered, Columns
from pipeline.journal.entry import VOTE_SCHEMA
from pipeline.journal.folder import JournalFolder
from pipeline.journal.keeping import DROPPED, FAILED, WRITTEN, Keeping
from pipeline.journal.upkeep import keep_up

LOG = logging.getLogger(__name__)
PAUSE = 1.0  # seconds between parts
UPKEEP = 60.0  # seconds between looks at the limits
WAITING_BYTES = 32 * 2**20  # of images that wait to be written; beyond it, they are dropped
TICK = timedelta(microseconds=10)  # between votes
WAITING_VOTES = 10_000  # votes that wait to be written; beyond it, they are refused


Kind = Literal["entries", "votes"]
Count = Callable[[Kind, str, int], None]  # with one of RESULTS, and how many


class Writer:
    """The journal as one process writes it. Safe to use from several threads."""

    def __init__(self, folder: JournalFolder, keeping: Keeping, count: Count) -> None:
        self._folder, self._keeping, self._count = folder, keeping, count
        self._columns = Columns()
        self._votes: deque[Vote] = deque()
        self._bytes = 0  # of the images that wait or are being written
        self._voted = datetime.min.replace(tzinfo=UTC)  # when the last vote was given
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._failing = False
        self._client = lru_cache(10_000)(folder.client)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, answered: Answered) -> None:
        """Write a request with the next part, or drop it if too much waits."""
        size = answered.images.size
        with self._lock:
            fits = self._bytes + size <= WAITING_BYTES
            if fits:
                self._bytes += size
                self._columns.append(answered)
        if not fits:
            self._count("entries", DROPPED, len(answered.images))

    def vote(self, vote: Vote) -> bool:
        """Write a vote with the next file; False if too many wait."""
        with self._lock:
            fits = len(self._votes) < WAITING_VOTES
            if fits:  # the latest vote counts, also after the clock was set back
                self._voted = max(vote.time, self._voted + TICK)
                self._votes.append(vote._replace(time=self._voted))
        if not fits:
            self._count("votes", DROPPED, 1)
        return fits

    def write(self) -> None:
        """Write what waits now. Entries that cannot be written are lost, votes wait on."""
        try:
            self._write_votes()
        finally:
            self._write_entries()

    def _write_entries(self) -> None:
        with self._lock:
            columns, self._columns = self._columns, Columns()
        count, result = len(columns), FAILED
        if not count:
            return
        try:
            table = columns.table(self._keeping.share, self._client)
            count = table.num_rows
            if count == 0 or self._attempt(lambda: self._folder.write_part(table)):
                result = WRITTEN
        finally:  # also after an internal error: what it cost is counted, and leaves the queue
            self._count("entries", result, count)
            with self._lock:
                self._bytes -= columns.bytes

    def _write_votes(self) -> None:
        with self._lock:
            votes = list(self._votes)
            self._votes.clear()
        if not votes:
            return
        if self._attempt(lambda: self._folder.write_votes(vote_table(votes))):
            self._count("votes", WRITTEN, len(votes))
        else:
            with self._lock:
                self._votes.extendleft(reversed(votes))

    def _run(self) -> None:
        looked = 0.0
        while not self._closing.wait(PAUSE):
            try:
                self.write()
                if time.monotonic() > looked + UPKEEP:
                    looked = time.monotonic()
                    keep_up(self._folder, self._keeping, time.time())
            except OSError as error:  # the service answers on
                LOG.error("the limits of the journal cannot be enforced: %s", error)
            except Exception:  # the service answers on
                LOG.exception("the journal has an internal error")
        self.write()

    def _attempt(self, write: Callable[[], object]) -> bool:
        """Whether the disk took it; a failure is logged when it begins and when it ends."""
        try:
            write()
        except OSError as error:
            if not self._failing:
                LOG.error("the journal cannot be written, entries are lost: %s", error)
            self._failing = True
            return False
        if self._failing:
            LOG.warning("the journal is written again")
        self._failing = False
        return True


def vote_table(votes: Sequence[Vote]) -> pa.Table:
    """The votes as a table."""
    rows = [dict(zip(VOTE_SCHEMA.names, vote, strict=True)) for vote in votes]
    return pa.Table.from_pylist(rows, VOTE_SCHEMA)
