"""Prometheus metrics of predictions, by the version of the model that made them."""

import threading
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from pipeline.core.task import MAX_CLASSES
from pipeline.inference.classifier import Predictions
from pipeline.inference.signature import Signature
from pipeline.service.histograms import add, histogram
from pipeline.service.pool import VERSION_LENGTH

IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
CONFIDENCE = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
VERDICTS = 5  # the number of verdicts
VERSIONS = 8  # versions that are counted separately; the least recently used one makes room
OLDER = "older"  # the name under which all others are counted together, in the first place
VERSION = np.dtype(  # counts of one version in one process
    [
        ("name", f"S{VERSION_LENGTH}"),
        ("used", np.int64),  # increases with every use
        ("images", float, len(IMAGES) + 2),
        ("predictions", np.int64, MAX_CLASSES),
        ("verdicts", np.int64, VERDICTS),
        ("confidence", float, len(CONFIDENCE) + 2),
    ]
)
COUNTS = ("images", "predictions", "verdicts", "confidence")
ROW = np.dtype((VERSION, VERSIONS + 1))


class VersionMetrics:
    """A collector of the metrics of predictions; safe to use from several threads."""

    def __init__(self, signature: Signature, rows: NDArray[Any], process: int) -> None:
        """`signature`: of any model of the service: all have the same labels and verdicts.

        `rows`: a ROW for each process of the service; this process writes that at `process`.
        """
        self._labels = signature.labels
        self._verdicts = {name: number for number, name in enumerate(signature.verdicts)}
        self._rows, self._own = rows, rows[process]
        self._own["name"][0] = OLDER.encode()
        self._bounds, self._lock = np.array(CONFIDENCE), threading.Lock()

    def record_predictions(self, version: str, predictions: Predictions) -> None:
        """Count the images of a request; those that show no class only by their verdict."""
        labelled = np.array([label is not None for label in predictions.labels], bool)
        confidences = predictions.confidences[labelled]
        buckets = np.searchsorted(self._bounds, confidences)
        verdicts = [self._verdicts[verdict] for verdict in predictions.verdicts]
        with self._lock:
            own = self._place(version)
            add(own["images"], bisect_left(IMAGES, len(verdicts)), len(verdicts))
            own["predictions"] += np.bincount(predictions.classes[labelled], minlength=MAX_CLASSES)
            own["verdicts"] += np.bincount(verdicts, minlength=VERDICTS)
            own["confidence"][:-1] += np.bincount(buckets, minlength=len(CONFIDENCE) + 1)
            own["confidence"][-1] += confidences.sum(dtype=float)

    def record_refusal(self, version: str, verdict: str) -> None:
        """Count a picture that was not classified."""
        with self._lock:
            self._place(version)["verdicts"][self._verdicts[verdict]] += 1

    def show(self, version: str) -> None:
        """Report a version from now on, even before its first prediction."""
        with self._lock:
            self._place(version)

    def _place(self, version: str) -> NDArray[Any]:
        """The counts of a version. They replace those of the least recently used one if needed."""
        names, used = self._own["name"], self._own["used"]
        found = np.flatnonzero(names == version.encode())
        place = int(found[0]) if len(found) else 1 + int(used[1:].argmin())
        if not len(found):
            own = self._own[place]
            for count in COUNTS:  # so that sums over all versions never fall
                self._own[0][count] += own[count]
                own[count] = 0
            names[place] = version.encode()
        used[place] = used.max() + 1
        counts: NDArray[Any] = self._own[place]
        return counts

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes together."""
        images = HistogramMetricFamily("request_images", "Images per request.", labels=["version"])
        predictions = CounterMetricFamily(
            "predictions",
            "Images that show a class, by predicted label.",
            labels=["label", "version"],
        )
        verdicts = CounterMetricFamily(
            "verdicts", "Images, by the verdict on them.", labels=["verdict", "version"]
        )
        confidence = HistogramMetricFamily(
            "prediction_confidence", "Probability of the predicted label.", labels=["version"]
        )
        for name in sorted({*self._rows["name"].ravel().tolist()} - {b""}):
            version, rows = name.decode(), self._rows[self._rows["name"] == name]
            total = {count: rows[count].sum(0) for count in COUNTS}
            if version == OLDER and not total["verdicts"].any():
                continue
            images.add_metric([version], *histogram(IMAGES, total["images"]))
            for label, count in zip(self._labels, total["predictions"], strict=False):
                predictions.add_metric([label, version], float(count))
            for verdict, count in zip(self._verdicts, total["verdicts"].tolist(), strict=True):
                verdicts.add_metric([verdict, version], count)
            confidence.add_metric([version], *histogram(CONFIDENCE, total["confidence"]))
        yield from (images, predictions, verdicts, confidence)
