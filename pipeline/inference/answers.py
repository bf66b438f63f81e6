"""The fields that name a class in the output of `predict`, `score` and the HTTP service."""

from pipeline.inference.signature import Signature


def class_fields(signature: Signature) -> list[dict[str, str | int]]:
    """The fields that name each class, in class order.

    Each class has its `label`. If all labels are decimal integers, it also has that integer, under
    the signature's noun: `{"label": "7", "digit": 7}`.
    """
    labels = signature.labels
    if all(label.isascii() and label.isdecimal() for label in labels):
        return [{"label": label, signature.noun: int(label)} for label in labels]
    return [{"label": label} for label in labels]
