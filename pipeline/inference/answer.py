"""How a class is named in answers, the same in `predict`, `score` and the HTTP service."""

from pipeline.inference.signature import Signature


def answer(signature: Signature, class_number: int) -> dict[str, str | int]:
    """The label of a class under `label`.

    Where all labels are numbers, it is under the model's noun, too, as an integer: `digit`.
    """
    label = signature.labels[class_number]
    if all(text.isascii() and text.isdecimal() for text in signature.labels):
        return {"label": label, signature.noun: int(label)}
    return {"label": label}
