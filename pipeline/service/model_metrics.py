"""Prometheus metrics of the models themselves: which one the processes serve, and their loads."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.service.loading import REASONS
from pipeline.service.pool import VERSION_LENGTH, ServedModel

LOADED = ("loaded", "")  # result and reason of a model that passed
RESULTS = (LOADED, *(("refused", reason) for reason in REASONS))
ROW = np.dtype(  # of one process
    [
        ("champion", f"S{VERSION_LENGTH}"),
        ("release", np.int64),  # of the champion; 0: none
        ("loads", np.int64, len(RESULTS)),
    ]
)


class ModelMetrics:
    """A collector of these metrics."""

    def __init__(self, rows: NDArray[Any], process: int) -> None:
        """`rows`: a ROW for each process of the service; this process writes that at `process`."""
        self._rows, self._process = rows, process

    def show(self, champion: ServedModel) -> None:
        """Note the champion of this process."""
        self._rows["champion"][self._process] = champion.version.encode()
        self._rows["release"][self._process] = champion.release or 0

    def record_load(self, reason: str | None = None) -> None:
        """Count a model that was loaded, or refused for one of the REASONS."""
        result = LOADED if reason is None else ("refused", reason)
        self._rows["loads"][self._process, RESULTS.index(result)] += 1

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes together."""
        champion = GaugeMetricFamily(
            "model_champion",
            "Processes of the service whose champion is this version; release 0 is none.",
            labels=["version", "release"],
        )
        pairs = zip(self._rows["champion"].tolist(), self._rows["release"].tolist(), strict=True)
        for (version, release), processes in sorted(Counter(pairs).items()):
            if version:
                champion.add_metric([version.decode(), str(release)], processes)
        yield champion
        loads = CounterMetricFamily(
            "model_loads",
            "Models that the processes loaded while they served, or refused, by reason.",
            labels=["result", "reason"],
        )
        for (result, reason), count in zip(RESULTS, self._rows["loads"].sum(0), strict=True):
            loads.add_metric([result, reason], float(count))
        yield loads
