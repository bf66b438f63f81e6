"""Which labelled images from use are learned, which are kept for testing, and which are refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.collection.candidates import Candidates, Fates, Reason
from pipeline.collection.caps import within_cap
from pipeline.collection.duplicates import originals
from pipeline.collection.hashes import Digests, Images
from pipeline.collection.known import KnownImages, same
from pipeline.collection.labels import doubtful
from pipeline.collection.votes import Outcome, by_image, counted, settle


@dataclass(frozen=True)
class Rules:
    """What is collected: these settings of `collect` in params.yaml."""

    votes: int
    cap_per_client: int
    near: int
    live_share: float


@dataclass(frozen=True)
class Known:
    """Images that are never collected."""

    test: KnownImages
    training: Digests  # of the training set and of the calibration set


@dataclass(frozen=True)
class Collected:
    """Images with settled labels, in the order of their ids."""

    ids: Sequence[str]
    images: Images  # [N, H, W]
    labels: NDArray[np.uint8]  # [N]


@dataclass(frozen=True)
class Refused:
    """Images that are not collected, in the order of their ids."""

    ids: Sequence[str]
    images: Images  # [N, H, W]
    reasons: Sequence[Reason]


@dataclass(frozen=True)
class Selection:
    """What became of the candidates."""

    training: Collected
    live: Collected  # never trains
    refused: Refused
    doubtful_live: Sequence[str]  # ids in `live` whose labels are doubtful


def select(
    candidates: Candidates,
    classes: Sequence[str],
    known: Known,
    rules: Rules,
    share: Callable[[str], float],
) -> Selection:
    """Sort the candidates into training images, live test images and refused ones.

    classes: the names of the classes; share: maps an id to a number in 0..1, below 1, which is
    uniform over ids and never changes.

    Doubtful labels are left out of the training images only: the live test set without them would
    lack just those images that the model misreads.
    """
    found = candidates.by_first_vote()
    fates = Fates(len(found))
    _refuse_known(found, fates, known, rules)
    original = _refuse_duplicates(found, fates, rules)
    labels, trusted = _settle(found, fates, original, classes, rules)
    numbers = fates.open
    clients = [found.clients[n] for n in numbers]
    over = ~within_cap(clients, trusted[numbers].tolist(), rules.cap_per_client)
    fates.refuse(numbers[over], Reason.OVER_CAP)

    numbers = fates.open
    suspect = doubtful(labels[numbers], found.probabilities[numbers]) & ~trusted[numbers]
    live = np.array([share(found.ids[n]) < rules.live_share for n in numbers], bool)
    fates.refuse(numbers[suspect & ~live], Reason.DOUBTFUL)

    def collected(chosen: NDArray[np.int64]) -> Collected:
        rows = np.array(sorted(chosen, key=lambda n: found.ids[n]), np.int64)
        return Collected([found.ids[n] for n in rows], found.images[rows], labels[rows])

    return Selection(
        training=collected(numbers[~live & ~suspect]),
        live=collected(numbers[live]),
        refused=_refused(found, fates),
        doubtful_live=sorted(found.ids[n] for n in numbers[live & suspect]),
    )


def _refuse_known(found: Candidates, fates: Fates, known: Known, rules: Rules) -> None:
    test = known.test.match(found.images, rules.near)
    fates.refuse(np.flatnonzero(test), Reason.TEST_IMAGE)
    training = same(found.images, known.training)
    fates.refuse(np.flatnonzero(training), Reason.TRAINING_IMAGE)


def _refuse_duplicates(found: Candidates, fates: Fates, rules: Rules) -> dict[str, str]:
    """Refuse copies; returns, for the id of each image that was left, that of its original."""
    numbers = fates.open
    first = numbers[originals(found.images[numbers], rules.near)]
    fates.refuse(numbers[first != numbers], Reason.DUPLICATE)
    return {found.ids[n]: found.ids[o] for n, o in zip(numbers, first, strict=True)}


def _settle(
    found: Candidates,
    fates: Fates,
    original: Mapping[str, str],
    classes: Sequence[str],
    rules: Rules,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Refuse images without a settled class.

    Returns the class of each other image, uint8 [N], and whether it is trusted, bool [N].
    """
    votes = by_image(counted(found.votes, rules.cap_per_client), original)
    class_of = {name: number for number, name in enumerate(classes)}
    labels, trusted = np.zeros(len(found), np.uint8), np.zeros(len(found), bool)
    for number in fates.open:
        outcome = settle(votes.get(found.ids[number], []), rules.votes)
        if (reason := _unusable(outcome, class_of)) is not None:
            fates.refuse(np.array([number]), reason)
        elif outcome.label is not None:
            labels[number], trusted[number] = class_of[outcome.label], outcome.trusted
    return labels, trusted


def _unusable(outcome: Outcome, class_of: Mapping[str, int]) -> Reason | None:
    """Why the votes give no class; None if they give one."""
    if outcome.label is None:
        return Reason.DISPUTED if outcome.disputed else Reason.UNSETTLED
    return None if outcome.label in class_of else Reason.NO_CLASS


def _refused(found: Candidates, fates: Fates) -> Refused:
    reasons = {n: reason for n, reason in enumerate(fates.reasons) if reason is not None}
    rows = sorted(reasons, key=lambda n: found.ids[n])
    images = found.images[np.array(rows, np.int64)]
    return Refused([found.ids[n] for n in rows], images, [reasons[n] for n in rows])
