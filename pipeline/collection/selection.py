"""Which labelled images from use are learned, which are kept for testing, and which are refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.caps import within_cap
from pipeline.collection.duplicates import originals
from pipeline.collection.hashes import Digests, Images
from pipeline.collection.known import KnownImages, same
from pipeline.collection.labels import doubtful
from pipeline.collection.votes import Outcome, Vote, by_image, counted, settle


class Reason(StrEnum):
    """Why an image is not collected."""

    TEST_IMAGE = "test image"  # it is one of the test set, or near one
    TRAINING_IMAGE = "training image"  # it is one of the published training set
    DUPLICATE = "duplicate"  # a copy of a collected image; its votes count for that one
    UNSETTLED = "unsettled"  # too few votes agree
    DISPUTED = "disputed"  # votes contradict each other
    NO_CLASS = "no class"  # the votes say that it shows none of the classes
    OVER_CAP = "over the cap"  # its client has sent too many, and no reviewer has seen it
    DOUBTFUL = "doubtful"  # the label is probably wrong, and no reviewer has confirmed it


@dataclass(frozen=True)
class Candidates:
    """The images that have votes, N of them."""

    ids: Sequence[str]
    images: Images  # [N, H, W]
    probabilities: NDArray[np.float32]  # [N, classes]: the model's answers when they were sent
    clients: Sequence[str]  # who sent them
    votes: Sequence[Vote]  # on these images, in any order

    def __len__(self) -> int:
        return len(self.ids)

    def ordered(self) -> "Candidates":
        """The same, in the order of their first votes: new votes do not change earlier places."""
        first: dict[str, tuple[object, str]] = {}
        for vote in self.votes:
            key = vote.time, vote.entry
            first[vote.entry] = min(first.get(vote.entry, key), key)  # type: ignore[type-var]
        order = sorted(range(len(self)), key=lambda n: first[self.ids[n]])  # type: ignore[arg-type,return-value]
        return Candidates(
            [self.ids[n] for n in order],
            self.images[order],
            self.probabilities[order],
            [self.clients[n] for n in order],
            self.votes,
        )


@dataclass(frozen=True)
class Rules:
    """What is collected: see the section `collect` of params.yaml."""

    votes: int
    cap_per_client: int
    near: int
    live_share: float


@dataclass(frozen=True)
class Collected:
    """Images with settled labels, in the order of their ids."""

    ids: list[str]
    images: Images  # [N, H, W]
    labels: NDArray[np.uint8]  # [N]


@dataclass
class Selection:
    """What became of the candidates."""

    training: Collected
    live: Collected  # never trains
    refused: dict[str, Reason] = field(default_factory=dict)  # by id
    doubtful_live: list[str] = field(default_factory=list)  # ids in `live` with doubtful labels


def select(
    candidates: Candidates,
    classes: Sequence[str],
    test: KnownImages,
    training: Digests,
    rules: Rules,
    share: Callable[[str], float],
) -> Selection:
    """Sort the candidates into training images, live test images and refused ones.

    classes: names of the classes; test: the test set; training: digests of the images that are in
    the training set or the calibration set; share: maps an id to a number in 0..1, at random but
    always the same.

    Doubtful labels are left out of the training images only. In the live test set, that would
    remove just the images that the model misreads.
    """
    candidates = candidates.ordered()
    refused: dict[str, Reason] = {}

    def refuse(which: NDArray[np.bool_], reason: Reason) -> None:
        for number in np.flatnonzero(which):
            refused.setdefault(candidates.ids[number], reason)

    def left() -> NDArray[np.int64]:
        return np.array([n for n, i in enumerate(candidates.ids) if i not in refused], np.int64)

    refuse(test.match(candidates.images, rules.near), Reason.TEST_IMAGE)
    refuse(same(candidates.images, training), Reason.TRAINING_IMAGE)

    rest = left()
    first = rest[originals(candidates.images[rest], rules.near)]
    original = {candidates.ids[n]: candidates.ids[o] for n, o in zip(rest, first, strict=True)}
    for number in rest[first != rest]:
        refused[candidates.ids[number]] = Reason.DUPLICATE

    votes = by_image(counted(candidates.votes, rules.cap_per_client), original)
    outcomes = {
        candidates.ids[n]: settle(votes.get(candidates.ids[n], ()), rules.votes) for n in left()
    }
    numbers = {name: number for number, name in enumerate(classes)}
    for entry, outcome in outcomes.items():
        if (reason := _unusable(outcome, numbers)) is not None:
            refused[entry] = reason

    rest = left()
    trusted = [outcomes[candidates.ids[n]].trusted for n in rest]
    within = within_cap([candidates.clients[n] for n in rest], trusted, rules.cap_per_client)
    for number in rest[~within]:
        refused[candidates.ids[number]] = Reason.OVER_CAP

    rest = left()
    labels = np.array([numbers[outcomes[candidates.ids[n]].label or ""] for n in rest], np.uint8)
    trusted_labels = np.array([outcomes[candidates.ids[n]].trusted for n in rest], bool)
    suspect = doubtful(labels, candidates.probabilities[rest]) & ~trusted_labels
    is_live = np.array([share(candidates.ids[n]) < rules.live_share for n in rest], bool)
    for number in rest[suspect & ~is_live]:
        refused[candidates.ids[number]] = Reason.DOUBTFUL

    def chosen(which: NDArray[np.bool_]) -> Collected:
        order = sorted(np.flatnonzero(which), key=lambda n: candidates.ids[rest[n]])
        kept = rest[np.array(order, np.int64)]
        ids = [candidates.ids[n] for n in kept]
        return Collected(ids, candidates.images[kept], labels[np.array(order, np.int64)])

    return Selection(
        training=chosen(~is_live & ~suspect),
        live=chosen(is_live),
        refused=refused,
        doubtful_live=[candidates.ids[n] for n in rest[is_live & suspect]],
    )


def _unusable(outcome: Outcome, numbers: Mapping[str, int]) -> Reason | None:
    """Why the outcome of a vote gives no label of a class; None if it gives one."""
    if outcome.label is None:
        return Reason.DISPUTED if outcome.disputed else Reason.UNSETTLED
    return None if outcome.label in numbers else Reason.NO_CLASS
