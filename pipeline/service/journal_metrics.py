"""Prometheus metrics of the journal."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, Metric

from pipeline.journal.keeping import RESULTS
from pipeline.service.families import counter

ROW = np.dtype(  # of one process
    [
        ("entries", np.int64, len(RESULTS)),
        ("votes", np.int64, len(RESULTS)),
        ("removed", np.int64),
    ]
)


class JournalMetrics:
    """A collector of these metrics; each cell of a row has one thread that writes it."""

    def __init__(self, rows: NDArray[Any], process: int) -> None:
        """`rows`: a ROW for each process of the service; this process writes that at `process`."""
        self._rows, self._process = rows, process

    def record(self, kind: Literal["entries", "votes"], result: str, count: int) -> None:
        """Count entries or votes with one of the RESULTS."""
        self._rows[kind][self._process, RESULTS.index(result)] += count

    def record_removal(self) -> None:
        """Count an entry that was removed on request."""
        self._rows["removed"][self._process] += 1

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes together."""
        entries, votes = (
            dict(zip(RESULTS, self._rows[name].sum(0).tolist(), strict=True))
            for name in ("entries", "votes")
        )
        yield counter(
            "journal_entries",
            "Images for the journal: written, dropped because too many waited, or lost because the "
            "disk failed.",
            "result",
            entries,
        )
        yield counter(
            "journal_votes",
            "Labels that people gave: written, or refused because too many waited.",
            "result",
            votes,
        )
        removed = float(self._rows["removed"].sum())
        yield CounterMetricFamily(
            "journal_removed", "Entries that were removed on request.", removed
        )
