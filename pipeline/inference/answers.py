"""Decides what images show: verdict, label and prediction set."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.reports import PredictionSet
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
    return Decisions(
        [signature.verdicts[kind] for kind in kinds],
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
