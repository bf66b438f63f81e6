"""What people say that journal entries show."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from pipeline.collection.votes import Vote, settle
from pipeline.journal.reading import votes


class Label(NamedTuple):
    """What an entry shows."""

    label: str  # a class, or the verdict for none
    reviewed: bool  # a reviewer or an import says so


def read_labels(journal: Path, agreeing: int) -> dict[str, Label]:
    """The labels of entries, by their ids.

    Reviewers and imports decide if they agree. Without them, a label is what `agreeing` users
    and more than half of them say. UserError if the folder is not a journal.
    """
    by_entry: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes(journal):
        by_entry[vote.entry].append(vote)
    outcomes = {entry: settle(given, agreeing) for entry, given in by_entry.items()}
    return {
        entry: Label(outcome.label, outcome.trusted)
        for entry, outcome in outcomes.items()
        if outcome.label is not None
    }
