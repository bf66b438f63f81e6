"""Prometheus metrics of the journal."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, Metric

from pipeline.journal.keeping import RESULTS

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
        entries = CounterMetricFamily(
            "journal_entries",
            "Images for the journal: written, dropped because too many waited, or lost because the "
            "disk failed.",
            labels=["result"],
        )
        votes = CounterMetricFamily(
            "journal_votes",
            "Labels that people gave: written, or refused because too many waited.",
            labels=["result"],
        )
        for family, name in ((entries, "entries"), (votes, "votes")):
            for result, count in zip(RESULTS, self._rows[name].sum(0).tolist(), strict=True):
                family.add_metric([result], count)
            yield family
        removed = CounterMetricFamily("journal_removed", "Entries that were removed on request.")
        removed.add_metric([], float(self._rows["removed"].sum()))
        yield removed
