"""What a trial shows: to Prometheus, and as JSON."""

from collections.abc import Iterator
from typing import Literal, get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from pydantic import BaseModel, Field

from pipeline.service.challenger.link import Link
from pipeline.service.challenger.trial import FAILURES, PAIRS, REASONS, TOLERATED, Reason
from pipeline.service.families import counter, gauge
from pipeline.service.histograms import histogram
from pipeline.service.metrics import SECONDS
from pipeline.service.pool import ServedModel

State = Literal["starting", "shadow", "canary", "ended"]


class TrialStatus(BaseModel):
    """The trial of a challenger."""

    state: State
    version: str | None = Field(
        description="The version of the challenger; null until a retraining puts one on trial."
    )
    release: int | None = Field(description="Its number; null if it is not a release.")
    percent: float = Field(description="The share of requests that it may answer.")
    tolerated: float = Field(description="The share that it may answer differently.")
    reason: Reason | None = Field(description="Why the trial has ended.")
    explanation: str | None = Field(description="The reason with its numbers.")
    requests: int = Field(description="The compared requests.")
    differ: int = Field(description="Of these, those that the models answered differently.")
    slow: int = Field(description="Of these, those for which the challenger was slow.")
    failures: int = Field(description="The requests that it failed to answer.")
    answered: int = Field(description="The answers of the challenger that clients got.")
    dropped: int = Field(description="The copies for which the queue had no room.")
    evidence: dict[Reason, float] = Field(
        description="The evidence against the challenger, by test; a canary ends at 300."
    )


class TrialMetrics:
    """A collector of the metrics of a trial, of all processes together."""

    def __init__(self, link: Link) -> None:
        self._link, self._trial = link, link.trial

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        trial = self._trial
        state = GaugeMetricFamily(
            "challenger_state",
            "1 for the state of the challenger: shadow gets copies, canary answers a share.",
            labels=["state", "version"],
        )
        current, challenger = state_of(self._link), self._link.challenger
        version = "none" if challenger is None else challenger.version
        for name in get_args(State):
            state.add_metric([name, version], float(name == current))
        yield state
        yield gauge(
            "challenger_ended",
            "1 for the reason why the trial has ended.",
            "reason",
            {name: float(name == trial.reason) for name in REASONS},
        )
        compared = CounterMetricFamily(
            "challenger_compared",
            "Compared images, by whether both models gave the same label and verdict.",
            labels=["label", "verdict"],
        )
        for pair, count in zip(PAIRS, trial.total("images").tolist(), strict=True):
            compared.add_metric(pair, count)
        yield compared
        requests, differ = int(trial.total("requests")), int(trial.total("differ"))
        yield counter(
            "challenger_requests",
            "Compared requests, by whether the models answered all their images alike.",
            "agreement",
            {"same": requests - differ, "other": differ},
        )
        yield CounterMetricFamily(
            "challenger_answered", "Answers of the challenger.", int(trial.total("answered"))
        )
        yield CounterMetricFamily(
            "challenger_dropped",
            "Copies dropped because the queue was full.",
            int(trial.total("dropped")),
        )
        yield counter(
            "challenger_failures",
            "Requests that the challenger failed to answer.",
            "kind",
            dict(zip(FAILURES, trial.total("failures").tolist(), strict=True)),
        )
        seconds = HistogramMetricFamily(
            "challenger_seconds",
            "Seconds that each model took for the images of a compared request.",
            labels=["model"],
        )
        for model in ("champion", "challenger"):
            seconds.add_metric([model], *histogram(SECONDS, trial.total(model)))
        yield seconds
        yield gauge(
            "challenger_evidence",
            "Evidence against the challenger; a canary ends at 300.",
            "test",
            {str(test): value for test, value in trial.evidence().items()},
        )


def state_of(link: Link) -> State:
    """`starting`, `shadow`, `canary` or `ended`."""
    if link.trial.reason is not None:
        return "ended"
    if not link.trial.running:
        return "starting"
    return "canary" if link.trial.rules.is_canary else "shadow"


def status(link: Link) -> TrialStatus:
    """The trial at present, of all processes together."""
    trial, challenger = link.trial, link.challenger
    return TrialStatus(
        state=state_of(link),
        version=challenger.version if challenger else None,
        release=challenger.release if challenger else None,
        percent=trial.rules.percent,
        tolerated=trial.rules.tolerated,
        reason=trial.reason,
        explanation=trial.explain(),
        requests=int(trial.total("requests")),
        differ=int(trial.total("differ")),
        slow=int(trial.total("slow")),
        failures=int(trial.total("failures").sum()),
        answered=int(trial.total("answered")),
        dropped=int(trial.total("dropped")),
        evidence=trial.evidence(),
    )


def example(model: ServedModel) -> TrialStatus:
    """A trial of a model, for the documentation."""
    return TrialStatus(
        state="canary",
        version=model.version,
        release=model.release,
        percent=5,
        tolerated=TOLERATED,
        reason=None,
        explanation=None,
        requests=1200,
        differ=9,
        slow=0,
        failures=0,
        answered=1200,
        dropped=0,
        evidence={"disagreement": 0.02, "latency": 0.01, "failures": 0.4},
    )
