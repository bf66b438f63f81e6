"""The figures of watching as Prometheus metrics, for the textfile collector of node_exporter."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.monitoring.quality import Accuracy
from pipeline.monitoring.state import State


class Monitor(Collector):
    """A collector of the figures in a state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The metrics; those of windows only after the first window."""
        state, last = self._state, self._state.last
        version = GaugeMetricFamily(
            "monitor_model", "The model that is watched: always 1.", labels=["model", "version"]
        )
        version.add_metric([state.model, state.model_sha256[:12]], 1)
        yield version
        yield CounterMetricFamily("monitor_windows", "Windows that were judged.", state.judged)
        yield CounterMetricFamily(
            "monitor_alarms", "Windows whose images differ from the reference.", state.alarms
        )
        for name, meaning, value in (
            ("window_images", "Images of a full window.", state.window),
            ("waiting_images", "Images that do not fill a window yet.", state.waiting),
            ("labels", "Images of this model that have labels.", state.labels),
            ("drift", "1 if the last window differs from the reference, else 0.", state.drift),
            ("quality_fell", "1 if the accuracy fell below that on the reference.", state.fell),
            (
                "threshold",
                "The p-value below which the last window differs.",
                last.threshold if last else state.threshold,
            ),
            ("reference_accuracy", "Accuracy on the reference.", state.reference_accuracy),
            (
                "finished_timestamp_seconds",
                "When the journal was last read, in seconds since 1970.",
                datetime.fromisoformat(state.finished).timestamp(),
            ),
        ):
            yield GaugeMetricFamily(f"monitor_{name}", meaning, float(value))
        waiting = GaugeMetricFamily(
            "monitor_review_images", "Images in the review queue, by reason.", labels=["reason"]
        )
        for reason, count in state.review.items():
            waiting.add_metric([reason], count)
        yield waiting
        if last:
            yield GaugeMetricFamily(
                "monitor_last_window_images", "Images of the last window.", last.images
            )
            p_values = GaugeMetricFamily(
                "monitor_p_value", "P-value of the last window.", labels=["test"]
            )
            for test, value in last.p_values.items():
                p_values.add_metric([test], value)
            yield p_values
            yield _pairs(
                "novelty",
                "Share of the images that show none of the classes.",
                {(): (last.novelty, state.reference_novelty)},
                (),
            )
            for name, label, now, then in (
                ("image_statistic", "statistic", last.means, state.reference_means),
                ("class_share", "label", last.classes, state.reference_classes),
            ):
                yield _pairs(
                    name,
                    f"Mean or share in the last window and in the reference, by {label}.",
                    {(key,): (now[key], then[key]) for key in now},
                    (label,),
                )
        estimated = last.estimated if last else None
        accuracies = {"estimated": estimated, "measured": state.measured}
        yield from _accuracies({kind: each for kind, each in accuracies.items() if each})


def _pairs(
    name: str,
    meaning: str,
    values: Mapping[tuple[str, ...], tuple[float, float]],
    labels: tuple[str, ...],
) -> Metric:
    """A gauge with a value of the last window and of the reference for each set of labels."""
    family = GaugeMetricFamily(f"monitor_{name}", meaning, labels=[*labels, "images"])
    for key, pair in values.items():
        for images, value in zip(("window", "reference"), pair, strict=True):
            family.add_metric([*key, images], value)
    return family


def _accuracies(accuracies: Mapping[str, Accuracy]) -> Iterator[Metric]:
    value = GaugeMetricFamily(
        "monitor_accuracy",
        "Accuracy with its 95% interval: estimated without labels, or measured with them.",
        labels=["kind", "bound"],
    )
    images = GaugeMetricFamily(
        "monitor_accuracy_images", "Images behind that accuracy.", labels=["kind"]
    )
    for kind, accuracy in accuracies.items():
        for bound in ("value", "low", "high"):
            value.add_metric([kind, bound], getattr(accuracy, bound))
        images.add_metric([kind], accuracy.images)
    yield from (value, images)


def text(state: State) -> bytes:
    """The metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(Monitor(state))
    return generate_latest(registry)
