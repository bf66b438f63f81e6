"""How the class of an image is named in an answer, whoever gives it."""

from pipeline.inference.signature import Signature


def class_fields(signature: Signature) -> list[dict[str, str | int]]:
    """The fields that name each class, in order.

    They are its `label`, and where all labels are decimal integers, that integer under the noun
    of the signature: `{"label": "7", "digit": 7}`.
    """
    labels = signature.labels
    if all(label.isascii() and label.isdecimal() for label in labels):
        return [{"label": label, signature.noun: int(label)} for label in labels]
    return [{"label": label} for label in labels]
