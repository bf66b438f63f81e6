"""Votes on labels: which of them count, and which label they settle."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

USER, REVIEWER, IMPORT = "user:", "reviewer:", "import:"  # what the names of voters begin with


class Vote(NamedTuple):
    """Somebody's statement of what an image shows."""

    entry: str  # id of the image in the journal
    time: datetime
    voter: str  # USER, REVIEWER or IMPORT, and who
    label: str  # a class, or the verdict for none

    @property
    def trusted(self) -> bool:
        """Whether the vote of this voter decides alone."""
        return not self.voter.startswith(USER)


@dataclass(frozen=True)
class Outcome:
    """What the votes on an image say."""

    label: str | None  # None if they settle nothing
    trusted: bool = False  # a reviewer decided, or an import
    disputed: bool = False  # the votes contradict each other


def counted(votes: Iterable[Vote], cap: int) -> list[Vote]:
    """The latest vote of each voter on each image; of a user, those on the first `cap` images.

    In the order of time. A user's first images are those of the user's earliest votes.
    """
    latest: dict[tuple[str, str], Vote] = {}
    order: dict[str, list[str]] = defaultdict(list)
    for vote in sorted(votes, key=lambda vote: (vote.time, vote.entry, vote.voter, vote.label)):
        key = vote.voter, vote.entry
        if key not in latest:
            order[vote.voter].append(vote.entry)
        latest[key] = vote
    kept = [
        vote
        for (voter, entry), vote in latest.items()
        if vote.trusted or entry in set(order[voter][:cap])
    ]
    return sorted(kept, key=lambda vote: (vote.time, vote.entry, vote.voter))


def by_image(votes: Iterable[Vote], original: Mapping[str, str]) -> dict[str, list[Vote]]:
    """The votes on each image, including those on its copies: `original` names it for each entry.

    A voter has one vote on an image, the latest. Votes on entries without an original are left out.
    """
    found: dict[str, dict[str, Vote]] = defaultdict(dict)
    for vote in votes:
        if (entry := original.get(vote.entry)) is not None:
            found[entry][vote.voter] = vote
    return {entry: list(each.values()) for entry, each in found.items()}


def settle(votes: Sequence[Vote], least: int) -> Outcome:
    """The label on which trusted voters agree, or else `least` users and more than half of them."""
    if trusted := {vote.label for vote in votes if vote.trusted}:
        if len(trusted) > 1:
            return Outcome(None, disputed=True)
        return Outcome(trusted.pop(), trusted=True)
    counts = Counter(vote.label for vote in votes)
    disputed = len(counts) > 1
    for label, count in counts.items():
        if count >= least and 2 * count > len(votes):
            return Outcome(label, disputed=disputed)
    return Outcome(None, disputed=disputed)
