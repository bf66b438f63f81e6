"""A limit on how often each client does something."""

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000  # that are remembered; the one that came longest ago is forgotten


class RateLimit:
    """Allows each client so many acts at once, and as many again every minute.

    Not safe to use from several threads.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, as of when

    def allows(self, client: str) -> bool:
        """Whether the client may act now; if so, that counts."""
        now = self._clock()
        left, before = self._clients.pop(client, (float(self._most), now))
        left = min(self._most, left + (now - before) * self._most / 60)
        allowed = left >= 1
        self._clients[client] = left - allowed, now
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        return allowed
