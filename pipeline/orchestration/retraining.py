"""When to retrain, and when people are to look at images: decided from what `monitor` found."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pipeline.config import Loop
from pipeline.monitoring.state import DRIFT, Event, State
from pipeline.registry.ledger import Act, Line


class Decision(NamedTuple):
    """Whether to retrain, and why or why not."""

    retrain: bool
    reason: str


def decide(state: State, lines: Sequence[Line], rules: Loop, now: datetime) -> Decision:
    """Whether a retraining may begin: enough new labels, a fall, and no recent retraining.

    `state`: what watching has found about the champion. Drift alone is no reason to retrain: it
    says that images differ, not what they show.
    """
    begun = [line for line in lines if line.act is Act.RETRAIN]
    used = [line.labels or 0 for line in begun if line.sha256 == state.model_sha256]
    new = state.labels - max(used, default=0)
    if not state.fell:
        return Decision(False, "the accuracy has not fallen")
    if new < rules.labels:
        return Decision(
            False, f"{new} new labels of the champion's images, and loop.labels is {rules.labels}"
        )
    if begun:
        left = rules.cooldown - (now - datetime.fromisoformat(begun[-1].time)).total_seconds()
        if left > 0:
            return Decision(False, f"the last retraining began recently: {left:.0f} s to wait")
    accuracy = state.measured if state.measured and state.measured.fell else None
    how = "measured" if accuracy else "estimated"
    accuracy = accuracy or (state.last.estimated if state.last else None)
    assert accuracy is not None
    return Decision(
        True,
        f"{new} new labels, and an accuracy of {accuracy.value:.2%} ({how} on {accuracy.images} "
        f"images) instead of {state.reference_accuracy:.2%}",
    )


def to_review(state: State, lines: Sequence[Line]) -> Event | None:
    """The last drift that the ledger does not name, if images still differ: people must look."""
    found = [event for event in state.events if event.kind == DRIFT]
    noted = {line.event for line in lines if line.act is Act.REVIEW}
    return found[-1] if found and state.drift and found[-1].id not in noted else None
