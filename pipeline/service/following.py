"""Follows what names the champion, and loads releases on demand, in each process of a service.

A new model is loaded and verified in a thread while the old one answers; then they are swapped. A
model that is refused changes nothing, and it is not tried again until its files change.
"""

import logging
import threading
import time

from pipeline.core.errors import UserError
from pipeline.registry.releases import Release, Releases
from pipeline.service.loading import LoadError, Reason, load_release
from pipeline.service.metrics import Metrics
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.sources import Source

TICK = 0.25  # seconds between looks at the orders of other processes
LOG = logging.getLogger(__name__)


class Follower:
    """Keeps the models of this process up to date. Threads may share it."""

    def __init__(
        self, pool: ModelPool, metrics: Metrics, orders: Orders, source: Source | None
    ) -> None:
        """`source`: names the champion; None: it stays the same, and nothing is loaded."""
        self._pool, self._metrics, self._orders, self.source = pool, metrics, orders, source
        self._lock, self._state, self._problem = threading.Lock(), object(), ""
        self.refused: dict[int | None, str] = {}  # why, by release number, since the last swap

    def start(self) -> None:
        """Follow from now on, in a thread that ends with the process."""
        if self.source is not None:
            threading.Thread(target=self._run, name="following", daemon=True).start()

    def _run(self) -> None:
        assert self.source is not None
        seconds = self.source.seconds
        next_look = time.monotonic() + seconds
        while True:
            time.sleep(min(TICK, seconds or TICK))
            try:
                self.obey()
                if seconds and time.monotonic() >= next_look:
                    self.check()
                    next_look = time.monotonic() + seconds
            except Exception:  # the service answers on, and the next look may succeed
                LOG.exception("following failed")

    def check(self) -> None:
        """Swap to the model that the source names, if it is another one and passes."""
        if self.source is None:
            return
        with self._lock:
            try:
                state = self.source.state()
            except UserError as error:  # MLflow does not answer
                self._report(str(error))
                return
            self._report("")
            if state == self._state:
                return
            self._state = state
            try:
                model = self.source.load(self._pool.champion)
            except Exception as error:
                self._refuse(None, error)
                return
            if model is None:
                return
            old = self._pool.champion
            self._pool.swap(model)
            self._metrics.note_champion()
            self._metrics.models.record_load()
            self.refused.clear()
            LOG.info("%s replaces %s", model.label, old.label, extra=_fields(model))

    def obey(self) -> None:
        """Do what the latest order of any process says, unless this process has done it."""
        order = self._orders.latest()
        if order.number <= self._orders.done():
            return
        self.check()
        with self._lock:
            self._load(order.releases)
        self._orders.note_done(order.number)

    def _load(self, numbers: tuple[int, ...]) -> None:
        """Load these releases and unload all others that have no role."""
        assert self.source is not None and self.source.workspace is not None
        there = {model.release: model for _, model in self._pool.roles.models()}
        loaded = []
        for number in numbers:
            if number not in there:
                try:
                    there[number] = self.load_one(self.find(number))
                except Exception as error:
                    self._refuse(number, error)
                    continue
                self._metrics.models.record_load()
                LOG.info("%s is loaded", there[number].label, extra=_fields(there[number]))
            loaded.append(there[number])
        self._pool.set_loaded(tuple(loaded))

    def load_one(self, release: Release) -> ServedModel:
        """A release, ready to answer like the champion. LoadError if it is refused."""
        assert self.source is not None
        return load_release(release, self.source.trust, self._pool.champion.signature)

    def find(self, number: int) -> Release:
        """The release with this number. UserError if there is none."""
        return Releases.of(self.workspace).find(number)
