"""What wrong labels become of: flipped ones, and those of clients that vote together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.candidates import Candidates, Reason
from pipeline.collection.hashes import digests
from pipeline.collection.known import KnownImages
from pipeline.collection.selection import Known, Rules, select
from pipeline.collection.votes import Vote

START = datetime(2026, 1, 1, tzinfo=UTC)
SENT = 20  # images from each client
Array = NDArray[Any]


@dataclass(frozen=True)
class Traffic:
    """Images, what they show, and what a model that was not trained on them said."""

    images: NDArray[np.uint8]  # [N, H, W]
    labels: Array  # [N]
    probabilities: NDArray[np.float32]  # [N, classes]


def flipped(
    traffic: Traffic, rules: Rules, *, voters: int, rate: float, classes: int
) -> dict[str, Any]:
    """Every image gets this many votes, each with another class at this rate, independently."""
    random = np.random.default_rng(1)
    count = len(traffic.labels)
    votes = []
    for voter in range(voters):
        wrong = random.random(count) < rate
        other = (traffic.labels + random.integers(1, classes, count)) % classes
        votes += _votes(np.where(wrong, other, traffic.labels), f"{voter}")
    return _outcome(traffic, votes, rules, classes)


def poisoned(
    traffic: Traffic, rules: Rules, *, clients: int, images: int, classes: int
) -> dict[str, Any]:
    """On the first images, these clients vote for a wrong class; two honest users vote on the rest.

    They vote in pairs, each pair on as many images as its votes count on. One alone votes on all.
    """
    false = (traffic.labels[:images] + 1) % classes
    each = rules.cap_per_client if clients > 1 else images
    votes = [
        Vote(_name(n), _time(n), f"user:poison {client}", str(false[n]))
        for client in range(clients)
        for n in range(client // 2 * each, min(images, (client // 2 + 1) * each))
    ]
    for voter in ("a", "b"):
        votes += _votes(traffic.labels, voter, start=images)
    return _outcome(traffic, votes, rules, classes)


def _votes(labels: Array, voter: str, start: int = 0) -> list[Vote]:
    """Votes for these labels, of a new user every SENT images."""
    return [
        Vote(_name(n), _time(n), f"user:{voter} {n // SENT}", str(labels[n]))
        for n in range(start, len(labels))
    ]


def _outcome(traffic: Traffic, votes: Sequence[Vote], rules: Rules, classes: int) -> dict[str, Any]:
    """How many images are collected, how many of them with a wrong label, and why not others."""
    none = traffic.images[:0]
    known = Known(KnownImages.of(none), digests(none))
    voted = sorted({int(vote.entry) for vote in votes})
    candidates = Candidates(
        [_name(n) for n in voted],
        traffic.images[voted],
        traffic.probabilities[voted],
        [f"client {n // SENT}" for n in voted],
        votes,
    )
    found = select(candidates, [str(n) for n in range(classes)], known, rules, lambda _: 0.999)
    numbers = [int(name) for name in found.training.ids]
    reasons = found.refused.reasons
    return {
        "images": len(voted),
        "collected": len(numbers),
        "wrong": int((found.training.labels != traffic.labels[numbers]).sum()),
        "refused": {reason.value: reasons.count(reason) for reason in Reason if reason in reasons},
    }


def _name(number: int) -> str:
    return f"{number:06}"


def _time(number: int) -> datetime:
    return START + timedelta(seconds=number)
