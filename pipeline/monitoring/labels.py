"""What people say that journal entries show."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.journal.reading import votes

USER = "user:"  # the voters who are not reviewers
AGREEING = 2  # votes of users that make a label


class Label(NamedTuple):
    """What an entry shows."""

    label: str  # a class, or the verdict for none
    reviewed: bool  # a reviewer or an import says so


def read_labels(journal: Path) -> dict[str, Label]:
    """The labels of entries, by their ids.

    The last vote of a reviewer or of an import decides. Without one, a label is what at least two
    users say and none denies. UserError if the folder is not a journal.
    """
    by_entry: dict[str, list[tuple[str, str]]] = defaultdict(list)
    table = votes(journal)
    for identifier, voter, label in zip(
        *(table[name].to_pylist() for name in ("id", "voter", "label")), strict=True
    ):
        by_entry[identifier].append((voter, label))
    found = {identifier: _decide(given) for identifier, given in by_entry.items()}
    return {identifier: label for identifier, label in found.items() if label is not None}


def _decide(given: Iterable[tuple[str, str]]) -> Label | None:
    """The label that follows from votes, oldest first."""
    given = list(given)
    reviewed = [label for voter, label in given if not voter.startswith(USER)]
    if reviewed:
        return Label(reviewed[-1], reviewed=True)
    counts = Counter(label for _, label in given)
    ((label, number),) = counts.most_common(1)
    return Label(label, reviewed=False) if number >= AGREEING and len(counts) == 1 else None
