"""Follows what names the champion, and loads releases on demand, in each process of a service.

A new model is loaded and verified in a thread while the old one answers; then they are swapped. A
model that is refused changes nothing, and it is not tried again until its files change.
"""

import logging
import threading
import time
from typing import Any

from pipeline.core.errors import UserError
from pipeline.registry.releases import Release, Releases
from pipeline.service.loading import LoadError, load_release
from pipeline.service.metrics import Metrics
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.sources import Source

TICK = 0.25  # seconds between looks at the orders of other processes
LOG = logging.getLogger(__name__)


class Follower:
    """Keeps the models of this process up to date. Threads may share it."""

    def __init__(self, pool: ModelPool, metrics: Metrics, orders: Orders, source: Source) -> None:
        self._pool, self._metrics, self._orders, self._source = pool, metrics, orders, source
        self._lock = threading.Lock()
        self._state: object = None  # of the source, when its model was last tried
        self._problem: str | None = None  # why the source could not be read
        self.refused: dict[int, str] = {}  # why, by release number, since the last swap

    def start(self) -> None:
        """Follow from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="following", daemon=True).start()

    def _run(self) -> None:
        seconds = self._source.seconds
        looked = time.monotonic()
        while True:
            time.sleep(min(TICK, seconds or TICK))
            try:
                self.obey()
                if seconds and time.monotonic() >= looked + seconds:
                    looked = time.monotonic()
                    self.check()
            except Exception:  # the service answers on, and the next look may succeed
                LOG.exception("following failed")

    def check(self) -> None:
        """Swap to the model that the source names, if it is another one and passes."""
        with self._lock:
            state = self._read_state()
            if state is None or state == self._state:
                return
            self._state, old = state, self._pool.champion
            try:
                model = self._source.load(old)
            except Exception as error:  # whatever the file contains, the old model answers on
                self._refuse(error)
                return
            if model is None:
                return
            self._pool.swap(model)
            self._metrics.note_champion()
            self._metrics.models.record_load()
            self.refused.clear()
            LOG.info("%s replaces %s", model.label, old.label, extra=_fields(model))

    def obey(self) -> None:
        """Follow the latest order of all processes, unless this process has done so."""
        order = self._orders.latest()
        if order.number <= self._orders.done():
            return
        self.check()
        with self._lock:
            there = {model.release: model for _, model in self._pool.roles.models()}
            for number in set(order.releases) - there.keys():
                try:
                    there[number] = self._load(self.find(number))
                except Exception as error:  # as in check
                    self._refuse(error)
            loaded = [there[number] for number in order.releases if number in there]
            self._pool.set_loaded(tuple(loaded))
            self._orders.note_done(order.number)

    def load(self, release: Release) -> int:
        """Load a release in this process, and order the others to do so; the order's number.

        LoadError if it is refused, ValueError if there are too many already.
        """
        with self._lock:
            order = self._orders.latest()
            if release.number in order.releases:
                return order.number
            try:
                model = self._load(release)
            except LoadError as error:
                self._refuse(error)
                raise
            number = self._orders.give((*order.releases, release.number))
            self._pool.set_loaded((*self._pool.roles.loaded, model))
        self.obey()
        return number

    def unload(self, releases: set[int]) -> int:
        """Unload these releases, and order the other processes to do so; the order's number."""
        kept = [number for number in self._orders.latest().releases if number not in releases]
        number = self._orders.give(tuple(kept))
        self.obey()
        return number

    def look(self) -> int:
        """Look for a new champion now, as all processes will soon; the order's number."""
        number = self._orders.give(self._orders.latest().releases)
        self.obey()
        return number

    def find(self, number: int) -> Release:
        """The release with this number. UserError if there is none."""
        if self._source.workspace is None:
            raise UserError("this service has no workspace with releases")
        return Releases.of(self._source.workspace).find(number)

    def releases(self) -> list[Release]:
        """All releases of the workspace."""
        workspace = self._source.workspace
        return list(Releases.of(workspace).all.values()) if workspace else []

    def _load(self, release: Release) -> ServedModel:
        model = load_release(release, self._source.trust, self._pool.champion.signature)
        self._metrics.models.record_load()
        self.refused.pop(release.number, None)
        LOG.info("%s is loaded", model.label, extra=_fields(model))
        return model

    def _read_state(self) -> object:
        """The state of the source; None if it cannot be read, which is logged once."""
        try:
            state = self._source.state()
        except UserError as error:  # MLflow does not answer
            if str(error) != self._problem:
                LOG.warning("the champion is not followed at present: %s", error)
            self._problem = str(error)
            return None
        self._problem = None
        return state

    def _refuse(self, error: Exception) -> None:
        """Log and count a model that is refused."""
        reason = error.reason if isinstance(error, LoadError) else "broken"
        self._metrics.models.record_load(reason)
        text = f"{reason}: {error}"
        if isinstance(error, LoadError) and error.release is not None:
            self.refused[error.release] = text
        if not isinstance(error, UserError):
            LOG.exception("loading failed")
        LOG.error("refused, the old model answers on: %s", text, extra={"reason": reason})


def _fields(model: ServedModel) -> dict[str, Any]:
    return {"version": model.version, "release": model.release}
