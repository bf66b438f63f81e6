"""The fields of an answer, which `predict`, `score` and the HTTP service share."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.signature import Signature

if TYPE_CHECKING:  # slow to import: every command imports this module
    from pipeline.inference.classifier import Predictions


def field_names(signature: Signature) -> list[str]:
    """The names of the fields of an answer, in order."""
    return [
        *class_fields(signature)[0],
        *("confidence", "set", "novelty", "verdict", "probabilities"),
    ]


def answer_fields(signature: Signature, found: "Predictions", n: int) -> dict[str, Any]:
    """The fields of the answer for image `n`; those that name a class are None if it shows none."""
    name = class_fields(signature)[found.classes[n]]
    return {
        **(dict.fromkeys(name) if found.labels[n] is None else name),
        "confidence": found.confidences[n].item(),
        "set": labels_of(signature, found.sets[n], found.probabilities[n]),
        "novelty": found.novelty[n].item(),
        "verdict": found.verdicts[n],
        "probabilities": found.probabilities[n].tolist(),
    }


def refusal_fields(signature: Signature, verdict: str) -> dict[str, Any]:
    """The fields of the answer for a picture that the model has not seen: the verdict, and None."""
    return dict.fromkeys(field_names(signature)) | {"verdict": verdict}


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
