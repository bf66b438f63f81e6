"""Orders to load releases, which each process of a service gives to all of them.

An order is in the row of the process that gave it, with a number that is higher than those of all
orders before. The latest order counts: it lists all releases to keep in memory, besides those in a
role. Every order also makes the processes look for a new champion.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.service.pool import ON_DEMAND

ROW = np.dtype(  # of one process
    [
        ("number", np.int64),  # of the latest order that it has given
        ("releases", np.int64, ON_DEMAND),  # of that order; 0: none
        ("done", np.int64),  # number of the latest order that it has followed
    ]
)


class Order(NamedTuple):
    """An order."""

    number: int
    releases: tuple[int, ...]


class Orders:
    """The orders of a service, as this process gives and follows them."""

    def __init__(self, rows: NDArray[Any], serving: NDArray[np.int64], process: int) -> None:
        """`rows`: a ROW of each process of the service; this process writes that at `process`.

        `serving`: whether each process serves.
        """
        self._rows, self._serving, self._own = rows, serving, rows[process]
        self._own["done"] = 0  # the process that this one replaces had its models in its memory

    def latest(self) -> Order:
        """The latest order of all processes; number 0 is that no release is loaded."""
        row = self._rows[int(self._rows["number"].argmax())]
        return Order(int(row["number"]), tuple(row["releases"][row["releases"] > 0].tolist()))

    def give(self, releases: tuple[int, ...]) -> int:
        """Give an order; returns its number. ValueError for more than ON_DEMAND releases."""
        if len(releases) > ON_DEMAND:
            raise ValueError(f"at most {ON_DEMAND} releases can be loaded: unload another one")
        self._own["releases"] = (*releases, *[0] * (ON_DEMAND - len(releases)))
        self._own["number"] = number = self.latest().number + 1  # last: others read it first
        return int(number)

    def note_done(self, number: int) -> None:
        """Note that this process has followed the order."""
        self._own["done"] = max(number, int(self._own["done"]))

    def done(self) -> int:
        """The number of the latest order that this process has followed."""
        return int(self._own["done"])

    def done_by_all(self, number: int) -> bool:
        """Whether all processes that serve have followed the order."""
        return bool((self._rows["done"][self._serving != 0] >= number).all())
