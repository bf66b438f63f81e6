"""Images from use that have votes, and what became of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.hashes import Images
from pipeline.collection.votes import Vote


class Reason(StrEnum):
    """Why an image is not collected."""

    TEST_IMAGE = "test image"  # it is one of the test set, or near one
    TRAINING_IMAGE = "training image"  # it is one of the training set or the calibration set
    DUPLICATE = "duplicate"  # a copy of another image; its votes count for that one
    UNSETTLED = "unsettled"  # too few voters agree
    DISPUTED = "disputed"  # voters contradict each other
    NO_CLASS = "no class"  # the voters say that it shows none of the classes
    OVER_CAP = "over the cap"  # its client sent too many, and no reviewer has labelled it
    DOUBTFUL = "doubtful"  # the label is probably wrong, and no reviewer has confirmed it


@dataclass(frozen=True)
class Candidates:
    """N images with votes."""

    ids: Sequence[str]
    images: Images  # [N, H, W]
    probabilities: NDArray[np.float32]  # [N, classes]: the model's answers when they were sent
    clients: Sequence[str]  # who sent them
    # in any order, at least one for each image; also those that were changed later: the first
    # votes decide what is a copy of what, and which images of a user count
    votes: Sequence[Vote]

    def __len__(self) -> int:
        return len(self.ids)

    def by_first_vote(self) -> "Candidates":
        """The same in the order of their first votes: later votes change no earlier place."""
        first: dict[str, datetime] = {}
        for vote in self.votes:
            first[vote.entry] = min(vote.time, first.get(vote.entry, vote.time))
        order = sorted(range(len(self)), key=lambda n: (first[self.ids[n]], self.ids[n]))
        return Candidates(
            [self.ids[n] for n in order],
            self.images[order],
            self.probabilities[order],
            [self.clients[n] for n in order],
            self.votes,
        )


class Fates:
    """Which of N candidates are refused, and why; the first reason counts."""

    def __init__(self, count: int) -> None:
        self.reasons: list[Reason | None] = [None] * count

    @property
    def open(self) -> NDArray[np.int64]:
        """The numbers of those that are not refused."""
        return np.array([n for n, why in enumerate(self.reasons) if why is None], np.int64)

    def refuse(self, numbers: NDArray[np.int64], reason: Reason) -> None:
        """Refuse these candidates."""
        for number in numbers:
            if self.reasons[number] is None:
                self.reasons[number] = reason
