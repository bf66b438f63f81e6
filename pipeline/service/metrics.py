"""Prometheus metrics: requests, predictions, and input drift from the training images.

Counts are in memory that all processes of a service share, so that each can report their sum.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, PlatformCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from pipeline.core.task import MAX_CLASSES
from pipeline.inference.classifier import Predictions
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images
from pipeline.service.drift import RECENT, RECENT_IMAGES, Drift
from pipeline.service.process_metrics import PROCESS, ProcessMetrics

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
STATUSES = (200, 206, 304, 307, 400, 401, 404, 405, 408, 413, 415, 416, 499, 500, 503, "other")
ROUTES = 32  # the highest number of paths
NO_ROUTE = "none"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
CONFIDENCE = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
VERDICTS = 5  # the number of verdicts
ROW = np.dtype(  # of one process; a histogram has a count per bucket, those beyond, and the sum
    [
        ("requests", np.int64, (ROUTES, len(METHODS), len(STATUSES))),
        ("seconds", float, (ROUTES, len(SECONDS) + 2)),
        ("images", float, len(IMAGES) + 2),
        ("predictions", np.int64, MAX_CLASSES),
        ("verdicts", np.int64, VERDICTS),
        ("confidence", float, len(CONFIDENCE) + 2),
        ("recent", RECENT_IMAGES),
        ("process", PROCESS),
    ]
)
_METHODS = {method: number for number, method in enumerate(METHODS)}
_STATUSES = {status: number for number, status in enumerate(STATUSES)}


class Metrics:
    """The metrics of one service, recorded by this process; safe to use from several threads."""

    def __init__(
        self,
        signature: Signature,
        routes: Sequence[str],
        rows: NDArray[Any] | None = None,
        process: int = 0,
    ) -> None:
        """`signature`: of the model that makes the predictions. `routes`: the paths of all routes.

        `rows`: a ROW for each process of the service; this process writes that at `process`.
        """
        self._labels = signature.labels
        self._verdicts = {name: number for number, name in enumerate(signature.verdicts)}
        self._routes = {path: number for number, path in enumerate(sorted({*routes, NO_ROUTE}))}
        if len(self._routes) > ROUTES:
            raise ValueError(f"{len(self._routes)} paths, but ROUTES is {ROUTES}")
        self._rows = np.zeros(1, ROW) if rows is None else rows
        own = self._rows[process]
        self._requests, self._seconds = own["requests"], own["seconds"]
        self._images, self._confidence = own["images"], own["confidence"]
        self._predictions, self._counts = own["predictions"], own["verdicts"]
        self._drift = Drift(signature.mean_pixel_deciles, self._rows["recent"], process)
        self._process = ProcessMetrics(self._rows["process"], process)
        self._bounds = np.array(CONFIDENCE)
        self._lock, self._noted = threading.Lock(), 0.0
        self.registry = CollectorRegistry()
        PlatformCollector(registry=self.registry)
        for collector in (self._process, self):
            self.registry.register(collector)

    def record_response(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that got a response. Call it from one thread only."""
        number = self._routes.get(route, self._routes[NO_ROUTE])
        place = number, _METHODS.get(method, -1), _STATUSES.get(status, -1)
        self._requests[place] += 1
        self._seconds[number, bisect_left(SECONDS, seconds)] += 1
        self._seconds[number, -1] += seconds
        if (now := time.monotonic()) > self._noted + 1:
            self._noted = now
            self._process.note()

    def record_predictions(self, images: Images, predictions: Predictions) -> None:
        """Count the images of a request; those that show no class only by their verdict."""
        labelled = np.array([label is not None for label in predictions.labels], bool)
        confidences = predictions.confidences[labelled]
        buckets = np.searchsorted(self._bounds, confidences)
        verdicts = [self._verdicts[verdict] for verdict in predictions.verdicts]
        with self._lock:
            self._images[bisect_left(IMAGES, len(images))] += 1
            self._images[-1] += len(images)
            self._predictions += np.bincount(predictions.classes[labelled], minlength=MAX_CLASSES)
            self._counts += np.bincount(verdicts, minlength=VERDICTS)
            self._confidence[:-1] += np.bincount(buckets, minlength=len(CONFIDENCE) + 1)
            self._confidence[-1] += confidences.sum(dtype=float)
            self._drift.add(images)

    def record_refusal(self, verdict: str) -> None:
        """Count a picture that was not classified."""
        with self._lock:
            self._counts[self._verdicts[verdict]] += 1

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes together."""
        total = {name: self._rows[name].sum(0) for name in ("requests", "seconds", "images")}
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
        yield HistogramMetricFamily(
            "request_images", "Images per request.", *histogram(IMAGES, total["images"])
        )
        predictions = CounterMetricFamily(
            "predictions", "Images that show a class, by predicted label.", labels=["label"]
        )
        for label, count in zip(self._labels, self._rows["predictions"].sum(0), strict=False):
            predictions.add_metric([label], float(count))
        yield predictions
        verdicts = CounterMetricFamily(
            "verdicts", "Images, by the verdict on them.", labels=["verdict"]
        )
        for verdict, count in zip(
            self._verdicts, self._rows["verdicts"].sum(0).tolist(), strict=True
        ):
            verdicts.add_metric([verdict], count)
        yield verdicts
        yield HistogramMetricFamily(
            "prediction_confidence",
            "Probability of the predicted label.",
            *histogram(CONFIDENCE, self._rows["confidence"].sum(0)),
        )
        yield GaugeMetricFamily(
            "input_drift",
            f"Population stability index of the mean pixel of the last {RECENT:,} images against "
            "the training images; above 0.25, the input has changed.",
            self._drift.index(),
        )


def histogram(
    bounds: Sequence[float], row: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """Prometheus's cumulative buckets, and the sum, of a histogram in a row."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, row[:-1].cumsum().tolist(), strict=True)), float(row[-1])
