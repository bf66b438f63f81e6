"""Prometheus metrics of all processes of the service: memory, CPU, files, garbage collection."""

import gc
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric

GARBAGE = {
    "collected": ("python_gc_objects_collected", "Objects collected during gc"),
    "uncollectable": ("python_gc_objects_uncollectable", "Uncollectable objects found during GC"),
    "collections": ("python_gc_collections", "Number of times this generation was collected"),
}
GENERATIONS = 3
FIRST = "process_start_time_seconds"
PROCESS = np.dtype([("id", np.int64), *((name, np.int64, GENERATIONS) for name in GARBAGE)])


class ProcessMetrics:
    """A collector of the metrics that prometheus_client reports of a single process."""

    def __init__(self, rows: NDArray[Any], process: int) -> None:
        """`rows`: PROCESS of each process; this process writes that at `process`."""
        self._rows, self._own = rows, rows[process]
        self._own["id"] = os.getpid()

    def note(self) -> None:
        """Note how much garbage this process has collected, for scrapes of the others."""
        for generation, statistics in enumerate(gc.get_stats()):
            for name in GARBAGE:
                self._own[name][generation] = statistics[name]

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes together; of their start times, the first."""
        self.note()
        values: dict[str, list[float]] = {}
        metrics: dict[str, Metric] = {}
        for process in self._rows["id"].tolist():
            collector = ProcessCollector(pid=partial(int, process), registry=None)
            for metric in collector.collect():
                metrics[metric.name] = metric
                values.setdefault(metric.name, []).append(metric.samples[0].value)
        for name, metric in metrics.items():
            total = min if name == FIRST else sum
            metric.samples = [metric.samples[0]._replace(value=total(values[name]))]
            yield metric
        for name, (family, documentation) in GARBAGE.items():
            counter = CounterMetricFamily(family, documentation, labels=["generation"])
            for generation, value in enumerate(self._rows[name].sum(0).tolist()):
                counter.add_metric([str(generation)], value)
            yield counter
