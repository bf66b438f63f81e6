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

    Reviewers and imports decide if they agree. Without them, a label is what at least two users and
    more than half of them say. UserError if the folder is not a journal.
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
    """The label that follows from votes, each a voter and a label; None if none does."""
    given = list(given)
    trusted = {label for voter, label in given if not voter.startswith(USER)}
    if trusted:
        return Label(trusted.pop(), reviewed=True) if len(trusted) == 1 else None
    label, number = Counter(label for _, label in given).most_common(1)[0]
    agreed = number >= AGREEING and 2 * number > len(given)
    return Label(label, reviewed=False) if agreed else None
