"""What an answer says: verdict, label, prediction set, and the fields that name a class.

`predict`, `score` and the HTTP service all take them from here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.reports import PredictionSet
from pipeline.core.task import UNSURE
from pipeline.inference.signature import Signature


class Decisions(NamedTuple):
    """The decisions on N images."""

    verdicts: list[str]  # [N]: the signature's noun, `unsure`, or that it is not one: `not a digit`
    labels: list[str | None]  # [N]: the most probable class; None if the image shows no class
    sets: NDArray[np.bool_]  # [N, classes]: the classes that the image may show


def decide(
    signature: Signature, probabilities: NDArray[np.float32], novelty: NDArray[np.float32]
) -> Decisions:
    """Decide what images show, from probabilities [N, classes] and novelty [N].

    An image of a higher novelty than the threshold shows no class. Otherwise the model is unsure if
    the prediction set with the highest coverage has several classes. A set always has the most
    probable class.
    """
    classes = probabilities.argmax(1)
    sets = prediction_sets(signature.sets[-1], probabilities)
    # 0: shows a class, 1: unsure, 2: shows none
    kinds = np.where(novelty > np.float32(signature.novelty_threshold), 2, sets.sum(1) > 1)
    verdicts = (signature.noun, UNSURE, signature.foreign)
    return Decisions(
        [verdicts[kind] for kind in kinds],
        [
            None if kind == 2 else signature.labels[number]
            for kind, number in zip(kinds, classes, strict=True)
        ],
        sets,
    )


def prediction_sets(rule: PredictionSet, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The classes [N, classes] that images may show, always with the most probable one."""
    sets: NDArray[np.bool_] = probabilities >= np.float32(rule.least_probability)
    sets[np.arange(len(sets)), probabilities.argmax(1)] = True
    return sets


def labels_of(
    signature: Signature, members: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> list[str]:
    """The labels in one image's prediction set [classes], the most probable first."""
    order = np.argsort(-probabilities, kind="stable")
    return [signature.labels[number] for number in order if members[number]]


def class_fields(signature: Signature) -> list[dict[str, str | int]]:
    """The fields that name each class, in class order.

    Each class has its `label`. If all labels are decimal integers, it also has that integer, under
    the signature's noun: `{"label": "7", "digit": 7}`.
    """
    labels = signature.labels
    if all(label.isascii() and label.isdecimal() for label in labels):
        return [{"label": label, signature.noun: int(label)} for label in labels]
    return [{"label": label} for label in labels]
