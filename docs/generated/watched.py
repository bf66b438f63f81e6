"""A result of `monitor` in which everything that it can find is there."""

from pipeline.journal.review import REASONS
from pipeline.monitoring.drift import TESTS
from pipeline.monitoring.image_statistics import STATISTICS
from pipeline.monitoring.quality import Accuracy
from pipeline.monitoring.state import Judged, State

TIME = "2026-11-01T00:00:00+00:00"


def example() -> State:
    """A state after one window."""
    accuracy = Accuracy(images=100, value=0.9, low=0.8, high=0.95, fell=True)
    means, shares = dict.fromkeys(STATISTICS, 0.5), {"0": 0.5, "1": 0.5}
    window = Judged(
        first="a",
        last="b",
        time=TIME,
        images=100,
        threshold=0.0003,
        p_values=dict.fromkeys(TESTS, 0.5),
        alarm=False,
        distances=means,
        means=means,
        classes=shares,
        novelty=0.1,
        estimated=accuracy,
    )
    return State(
        model="model",
        model_sha256="0" * 64,
        window=100,
        reference_images=3000,
        reference_accuracy=0.99,
        reference_means=means,
        reference_classes=shares,
        reference_novelty=0.01,
        threshold=0.0003,
        windows=(window,),
        measured=accuracy,
        review=dict.fromkeys(REASONS, 1),
        finished=TIME,
    )
