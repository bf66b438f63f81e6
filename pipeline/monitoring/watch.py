"""Judges the windows of a journal that have not been judged, and notes what should be heard."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.inference.signature import Signature
from pipeline.journal import review
from pipeline.journal.ids import lowest
from pipeline.journal.reading import entries
from pipeline.monitoring.baseline import Baseline
from pipeline.monitoring.drift import TESTS, p_values
from pipeline.monitoring.image_statistics import STATISTICS
from pipeline.monitoring.labels import Label, read_labels
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.quality import estimate, measure
from pipeline.monitoring.state import (
    DRIFT,
    EVENTS,
    LABELS,
    QUALITY,
    WINDOWS,
    Event,
    Judged,
    Kind,
    State,
)
from pipeline.monitoring.statistics import ks_distances
from pipeline.monitoring.windows import Entry, Window, due_windows, read_windows

ENOUGH_LABELS = 300
AGREEING = 2
RECENT = 200  # images of the random sample on which the accuracy is measured
NAMESPACE = uuid.UUID("7b0c0f3e-8c1d-5d56-9d0f-6f1a0a0f6b57")  # of the ids of events


class Look(NamedTuple):
    """The result of reading a journal once."""

    state: State
    window: Window | None  # the last one, if it is new


def look(
    journal: Path,
    baseline: Baseline,
    previous: State | None,
    *,
    enough_labels: int = ENOUGH_LABELS,
    agreeing: int = AGREEING,
    patience: timedelta | None = None,
    now: datetime | None = None,
) -> Look:
    """Judge the windows that have filled since `previous`, in order; measure the accuracy.

    `agreeing`: users who settle a label; see `read_labels`. `patience`: how long entries wait for a
    window to fill; see `due_windows`. Only entries of the baseline's model count, and a window
    never shares one with another. UserError if the folder is not a journal.
    """
    now = now or datetime.now(UTC)
    state = _resume(baseline, previous, now)
    size, signature = baseline.thresholds.window, baseline.reference.signature
    state, after = _after(state, now)
    due = due_windows(journal, baseline.model_sha256, size, after, now, patience)
    window = None
    for window in read_windows(journal, due, signature):
        state = _after_window(state, _judge(baseline, window))
    queue = review.find_queue(journal, signature.foreign)
    state = state.model_copy(update={"waiting": due.waiting, "review": queue.counts()})
    labels = read_labels(journal, agreeing)
    return Look(_after_labels(state, journal, labels, signature, enough_labels), window)


def _resume(baseline: Baseline, previous: State | None, now: datetime) -> State:
    """The state to start from: a new one, with the old events, for another model or window."""
    known, size = baseline.reference, baseline.thresholds.window
    finished = now.isoformat()
    if previous and (previous.model_sha256, previous.window) == (baseline.model_sha256, size):
        return previous.model_copy(update={"finished": finished})
    return State(
        model=known.signature.model,
        model_sha256=baseline.model_sha256,
        window=size,
        reference_images=len(known),
        reference_accuracy=baseline.accuracy,
        reference_means=_by_statistic(known.observations.statistics.mean(0)),
        reference_classes=_shares(known.signature, known.observations),
        reference_novelty=float(known.observations.foreign.mean()),
        threshold=baseline.thresholds.p_value,
        finished=finished,
        events=previous.events if previous else (),
    )


def _after(state: State, now: datetime) -> tuple[State, Entry | None]:
    """The entry after which windows begin: the last one that was judged.

    If it is in the future, the clock was set back, and they begin when that is first seen.
    """
    if state.last is None:
        return state, None
    after = Entry(state.last.last, datetime.fromisoformat(state.last.time))
    if after.time <= now:
        return state.model_copy(update={"set_back": None}), after
    seen = datetime.fromisoformat(state.set_back) if state.set_back else now
    seen = min(seen, now)
    state = state.model_copy(update={"set_back": seen.isoformat()})
    return state, Entry(lowest(seen.timestamp()), seen)


def _judge(baseline: Baseline, window: Window) -> Judged:
    known, observations = baseline.reference, window.observations
    thresholds = baseline.thresholds_for(len(observations))
    measured, one = known.measure(observations), np.arange(len(observations))[None]
    found = p_values(known, measured, one, thresholds.mmd_null)[0]
    return Judged(
        first=window.first.id,
        last=window.last.id,
        time=window.last.time.isoformat(),
        images=len(observations),
        threshold=thresholds.p_value,
        p_values=dict(zip(TESTS, map(float, found), strict=True)),
        alarm=bool(found.min() < thresholds.p_value),
        distances=_by_statistic(ks_distances(*measured.statistics, one)[0]),
        means=_by_statistic(observations.statistics.mean(0)),
        classes=_shares(known.signature, observations),
        novelty=float(observations.foreign.mean()),
        estimated=estimate(baseline.confidences(observations), baseline.accuracy_of_answered),
    )


def _after_window(state: State, judged: Judged) -> State:
    """The state after one more window, with an event if drift or a fall begins with it."""
    new = state.model_copy(
        update={
            "judged": state.judged + 1,
            "alarms": state.alarms + judged.alarm,
            "windows": (*state.windows, judged)[-WINDOWS:],
        }
    )
    if new.drift and not state.drift:
        tests = [name for name, p in judged.p_values.items() if p < judged.threshold]
        message = f"the input has changed, by the tests {', '.join(tests)}"
        new = _with_event(new, DRIFT, judged.last, judged.time, message)
    return _with_fall(state, new, judged.last, judged.time)


def _with_fall(old: State, new: State, cause: str, time: str) -> State:
    """The new state, with an event if the accuracy has fallen since the old one."""
    if not new.fell or old.fell:
        return new
    estimated = new.last.estimated if new.last else None
    measured = new.measured
    how, found = ("measured", measured) if measured and measured.fell else ("estimated", estimated)
    assert found is not None
    message = (
        f"the {how} accuracy is {found.value:.2%} ({found.low:.2%} to {found.high:.2%}), "
        f"{new.reference_accuracy:.2%} on held-out images"
    )
    return _with_event(new, QUALITY, cause, time, message)


def _with_event(state: State, kind: Kind, cause: str, time: str, message: str) -> State:
    identifier = str(uuid.uuid5(NAMESPACE, f"{kind}/{state.model_sha256}/{cause}"))
    if any(event.id == identifier for event in state.events):
        return state
    event = Event(id=identifier, kind=kind, time=time, message=message)
    return state.model_copy(update={"events": (*state.events, event)[-EVENTS:]})


def _after_labels(
    state: State, journal: Path, labels: dict[str, Label], signature: Signature, enough: int
) -> State:
    """The state with the accuracy on labelled entries, and an event for each `enough` labels.

    Entries that show no class do not count: the reference has none, and nobody trains on them.
    """
    given = {
        identifier: label
        for identifier, label in labels.items()
        if label.label != signature.foreign
    }
    columns = ["id", "time", "sha256", "verdict", "label", "random"]
    own = [
        row
        for batch in entries(journal, ids=given.keys(), columns=columns)
        for row in batch.to_pylist()
        if row["sha256"] == state.model_sha256
    ]
    own.sort(key=lambda row: row["id"])
    sample = [row for row in own if row["random"] and given[row["id"]].reviewed][-RECENT:]
    right = sum(given[row["id"]].label == row["label"] for row in sample)
    measured = measure(right, len(sample), state.reference_accuracy)
    new = state.model_copy(update={"measured": measured, "labels": len(own)})
    if sample:
        new = _with_fall(state, new, sample[-1]["id"], sample[-1]["time"].isoformat())
    if len(own) // enough > state.labels // enough:
        message = f"{len(own)} images of this model are labelled with a class"
        reached = str(len(own) // enough * enough)
        new = _with_event(new, LABELS, reached, own[-1]["time"].isoformat(), message)
    return new


def _by_statistic(values: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, map(float, values), strict=True))


def _shares(signature: Signature, observations: Observations) -> dict[str, float]:
    counts = np.bincount(observations.classes, minlength=len(signature.labels))
    shares = counts / len(observations)
    return dict(zip(signature.labels, map(float, shares), strict=True))
