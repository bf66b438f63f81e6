"""Which entries a person should look at next.

Entries for which labels say most come first: those on which users, the challenger or the model
itself disagree or doubt. Between them are those of the random sample, which alone gives an unbiased
estimate of the accuracy.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.votes import REVIEWER, USER
from pipeline.journal.entry import pixels_of
from pipeline.journal.reading import entries, votes

RANDOM, VOTE, CHALLENGER, MARGIN, NOVELTY = REASONS = (
    "random",  # it is in the random sample
    "vote",  # a user says something else than the model
    "challenger",  # the challenger does
    "margin",  # two classes are about as probable
    "novelty",  # it looks like no class
)
NEWEST = 20_000  # entries to choose from
DOUBT = 0.8  # the difference of the two highest probabilities below which the model is in doubt
COLUMNS = ("id", "probabilities", "verdict", "label", "novelty", "challenger", "random")


class Item(NamedTuple):
    """An entry to look at."""

    id: str
    reason: str  # one of REASONS


class Queue(NamedTuple):
    """The entries that no reviewer has labelled, the most urgent first, each once."""

    items: list[Item]

    def counts(self) -> dict[str, int]:
        """How many there are, by reason."""
        found = Counter(item.reason for item in self.items)
        return {reason: found[reason] for reason in REASONS}

    def without(self, ids: Collection[str]) -> "Queue":
        """The queue without these entries."""
        left_out = set(ids)
        return Queue([item for item in self.items if item.id not in left_out])


def find_queue(folder: Path, foreign: str, newest: int = NEWEST) -> Queue:
    """The queue of a journal, from its newest entries.

    Its reasons take turns. `foreign`: the verdict on an image that shows no class. UserError if the
    folder is no journal.
    """
    reviewed: set[str] = set()
    said: dict[str, set[str]] = {}
    for vote in votes(folder):
        if vote.voter.startswith(REVIEWER):
            reviewed.add(vote.entry)
        elif vote.voter.startswith(USER):
            said.setdefault(vote.entry, set()).add(vote.label)
    ranked: dict[str, list[tuple[float, str]]] = {reason: [] for reason in REASONS}
    for row in _newest(folder, newest):
        if row["id"] in reviewed:
            continue
        answer = row["label"] if row["verdict"] != foreign else foreign
        highest = sorted(row["probabilities"])[-2:]
        margin = highest[-1] - highest[0]
        other = row["challenger"]
        if row["random"]:
            ranked[RANDOM].append((0, row["id"]))  # in an order that the image has no part in
            continue
        if said.get(row["id"], {answer}) != {answer}:
            ranked[VOTE].append((margin, row["id"]))
        if other and (other["label"], other["verdict"]) != (row["label"], row["verdict"]):
            ranked[CHALLENGER].append((margin, row["id"]))
        if row["verdict"] == foreign:
            ranked[NOVELTY].append((-row["novelty"], row["id"]))
        elif margin < DOUBT:
            ranked[MARGIN].append((margin, row["id"]))
    return Queue(_take_turns(ranked))


def _take_turns(ranked: dict[str, list[tuple[float, str]]]) -> list[Item]:
    """The entries of all reasons, the first of each reason first, and each entry once.

    `ranked`: rank and id, by reason; the lowest rank is the most urgent.
    """
    left = {reason: deque(sorted(found)) for reason, found in ranked.items()}
    taken: dict[str, Item] = {}
    while any(left.values()):
        for reason, found in left.items():
            while found and found[0][1] in taken:
                found.popleft()
            if found:
                _, identifier = found.popleft()
                taken[identifier] = Item(identifier, reason)
    return list(taken.values())


def images_of(folder: Path, ids: Collection[str]) -> dict[str, NDArray[np.uint8]]:
    """The images [H, W] of these entries, by id; those that are gone are left out."""
    found: dict[str, NDArray[np.uint8]] = {}
    if ids:
        for batch in entries(folder, ids=ids, columns=["id", "pixels"], newest_first=True):
            found |= zip(batch["id"].to_pylist(), pixels_of(batch), strict=True)
            if len(found) == len(ids):
                break
    return found


def _newest(folder: Path, newest: int) -> Iterator[dict[str, Any]]:
    left = newest
    for batch in entries(folder, columns=COLUMNS, newest_first=True):
        yield from batch.slice(0, left).to_pylist()
        left -= batch.num_rows
        if left <= 0:
            return
