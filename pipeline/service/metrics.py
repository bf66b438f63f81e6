"""Prometheus metrics: requests, predictions, and input drift from the training images."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pipeline.inference.classifier import Predictions
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images

disable_created_metrics()  # type: ignore[no-untyped-call]  # otherwise each has a second, unused series

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
RECENT, ENOUGH = 1000, 100  # maximum and minimum number of images to measure drift on


class Metrics:
    """The metrics of one service; safe to use from several threads."""

    def __init__(self, signature: Signature) -> None:
        """`signature`: of the model that makes the predictions."""
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        own: Any = {"registry": self.registry}
        self._requests = Counter(
            "http_requests", "Requests that got a response.", ["route", "method", "status"], **own
        )
        self._seconds = Histogram(
            "http_request_seconds",
            "Seconds from a request to the end of its response.",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self._batch = Histogram("request_images", "Images per request.", buckets=IMAGES, **own)
        self._labels = signature.labels
        self._predictions = Counter(
            "predictions", "Classified images, by predicted label.", ["label"], **own
        )
        self._confidence = Histogram(
            "prediction_confidence",
            "Probability of the predicted label.",
            buckets=(0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1),
            **own,
        )
        drift = Gauge(
            "input_drift",
            f"Population stability index of the mean pixel of the last {RECENT:,} images against "
            "the training images; above 0.25, the input has changed.",
            **own,
        )
        self._drift = Drift(signature.mean_pixel_deciles)
        drift.set_function(self._drift.index)
        for label in self._labels:
            self._predictions.labels(label)

    def record_response(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that got a response."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)

    def record_predictions(self, images: Images, predictions: Predictions) -> None:
        """Count the classified images of a request."""
        self._batch.observe(len(images))
        counts = np.bincount(predictions.classes, minlength=len(self._labels))
        for label, count in zip(self._labels, counts, strict=True):
            self._predictions.labels(label).inc(int(count))
        for confidence in predictions.confidences:
            self._confidence.observe(float(confidence))
        self._drift.add(images)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class Drift:
    """The distribution of the mean pixel of recent images, compared with the training images."""

    def __init__(self, deciles: Sequence[float]) -> None:
        """`deciles`: the nine deciles of the training images' mean pixel."""
        self._deciles = np.asarray(deciles)
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._lock = threading.Lock()

    def add(self, images: Images) -> None:
        """Add the images [N, H, W] of a request."""
        bins = np.searchsorted(self._deciles, images[-RECENT:].mean((1, 2)))
        with self._lock:
            self._recent.extend(bins.tolist())

    def index(self) -> float:
        """The population stability index, Σ (p − q) ln(p / q) over the ten bins; NaN if there are
        too few images.

        Half an image is added to each bin, so that none is empty.
        """
        with self._lock:
            bins = list(self._recent)
        if len(bins) < ENOUGH:
            return float("nan")
        expected = 1 / (len(self._deciles) + 1)
        counts = np.bincount(bins, minlength=len(self._deciles) + 1) + 0.5
        shares = counts / counts.sum()
        return float(((shares - expected) * np.log(shares / expected)).sum())
