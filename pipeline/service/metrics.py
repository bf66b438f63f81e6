"""Prometheus metrics: requests, predictions and models.

Counts are in memory that all processes of a service share, so that each can report their sum.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, PlatformCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from pipeline.inference.classifier import Predictions
from pipeline.service import model_metrics, version_metrics
from pipeline.service.histograms import add, histogram
from pipeline.service.model_metrics import ModelMetrics
from pipeline.service.pool import ModelPool
from pipeline.service.process_metrics import PROCESS, ProcessMetrics
from pipeline.service.version_metrics import VersionMetrics

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
STATUSES = (
    *(200, 204, 206, 304, 307, 400, 401, 403, 404, 405, 408, 413, 415, 416, 429, 499, 500, 503),
    "other",
)
ROUTES = 32  # the highest number of paths
NO_ROUTE = "none"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ROW = np.dtype(  # of one process
    [
        ("requests", np.int64, (ROUTES, len(METHODS), len(STATUSES))),
        ("seconds", float, (ROUTES, len(SECONDS) + 2)),
        ("versions", version_metrics.ROW),
        ("models", model_metrics.ROW),
        ("process", PROCESS),
    ]
)
_METHODS = {method: number for number, method in enumerate(METHODS)}
_STATUSES = {status: number for number, status in enumerate(STATUSES)}


class Metrics:
    """The metrics of one service, recorded by this process; safe to use from several threads."""

    def __init__(
        self,
        pool: ModelPool,
        routes: Sequence[str],
        rows: NDArray[Any] | None = None,
        process: int = 0,
    ) -> None:
        """`routes`: the paths of all routes.

        `rows`: a ROW for each process of the service; this process writes that at `process`.
        """
        self._pool = pool
        self._routes = {path: number for number, path in enumerate(sorted({*routes, NO_ROUTE}))}
        if len(self._routes) > ROUTES:
            raise ValueError(f"{len(self._routes)} paths, but ROUTES is {ROUTES}")
        self._rows = np.zeros(1, ROW) if rows is None else rows
        own = self._rows[process]
        self._requests, self._seconds = own["requests"], own["seconds"]
        self._versions = VersionMetrics(pool.champion.signature, self._rows["versions"], process)
        self.models = ModelMetrics(self._rows["models"], process)
        self._process = ProcessMetrics(self._rows["process"], process)
        self._noted = 0.0
        self.registry = CollectorRegistry()
        PlatformCollector(registry=self.registry)
        for collector in (self._process, self, self._versions, self.models):
            self.registry.register(collector)
        self.note_champion()

    def note_champion(self) -> None:
        """Report the champion of the pool from now on."""
        self._versions.show(self._pool.champion.version)
        self.models.show(self._pool.champion)

    def record_response(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that got a response. Call it from one thread only."""
        number = self._routes.get(route, self._routes[NO_ROUTE])
        place = number, _METHODS.get(method, -1), _STATUSES.get(status, -1)
        self._requests[place] += 1
        add(self._seconds[number], bisect_left(SECONDS, seconds), seconds)
        if (now := time.monotonic()) > self._noted + 1:
            self._noted = now
            self._process.note()

    def record_predictions(self, version: str, predictions: Predictions) -> None:
        """Count the images of a request, and what the model of this version says of them."""
        self._versions.record_predictions(version, predictions)

    def record_refusal(self, version: str, verdict: str) -> None:
        """Count a picture that was not classified."""
        self._versions.record_refusal(version, verdict)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics of requests in all processes together."""
        total = {name: self._rows[name].sum(0) for name in ("requests", "seconds")}
        requests = CounterMetricFamily(
            "http_requests",
            "Requests that got a response.",
            labels=["route", "method", "status"],
        )
        seconds = HistogramMetricFamily(
            "http_request_seconds",
            "Seconds from a request to the end of its response.",
            labels=["route"],
        )
        for route, number in self._routes.items():
            for method, status in np.argwhere(total["requests"][number]).tolist():
                labels = [route, METHODS[method], str(STATUSES[status])]
                requests.add_metric(labels, float(total["requests"][number, method, status]))
            if total["seconds"][number].any():
                seconds.add_metric([route], *histogram(SECONDS, total["seconds"][number]))
        yield requests
        yield seconds
