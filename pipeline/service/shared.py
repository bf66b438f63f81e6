"""Numbers that the processes of a service share: a row for each process, which it alone writes.

So no lock is needed, and a process that is killed leaves none locked. The rows outlive it: the
process that replaces it continues its counts.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.service import journal_metrics, metrics, orders

TALLIES = np.dtype([(name, np.int64) for name in ("requests", "buffered", "working")])
ROW = np.dtype(
    [
        ("serving", np.int64),
        ("metrics", metrics.ROW),
        ("orders", orders.ROW),
        ("journal", journal_metrics.ROW),
        ("tallies", TALLIES),
    ]
)


class Place(NamedTuple):
    """The row of a process among those of its service."""

    rows: NDArray[Any]  # a ROW for each process
    process: int  # index of the row


def alone() -> Place:
    """The place of the only process of a service."""
    return Place(np.zeros(1, ROW), 0)


class Tally:
    """A number to which each process of a service adds its part."""

    def __init__(self, place: Place, name: str) -> None:
        """`name`: in TALLIES."""
        self._parts: NDArray[np.int64] = place.rows["tallies"][name]
        self._process = place.process
        self._parts[self._process] = 0  # the process that this one replaces may have left a part

    def add(self, amount: int) -> None:
        """Add to the part of this process."""
        self._parts[self._process] += amount

    def total(self) -> int:
        """The sum of all parts."""
        return sum(self._parts.tolist())
