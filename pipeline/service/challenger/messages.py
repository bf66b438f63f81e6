"""What passes between the service and the challenger's process, as bytes.

A copy has a request's images and what the champion made of them, a reply the challenger's answer.
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.task import ImageForm
from pipeline.inference.classifier import Predictions
from pipeline.inference.session import Answer
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images

MOST_IMAGES = 64  # of a request that are compared
MOST_BYTES = 160_000  # of a reply: systems limit a datagram, Linux to 200 KiB
NO_REPLY = 0
_OUTCOME = 4  # bytes for an image
_COPY, _REPLY = struct.Struct("<Qd"), struct.Struct("<Q")


class Outcomes(NamedTuple):
    """What a model made of N images, as numbers that can be compared."""

    classes: NDArray[np.int16]  # [N]; -1 if an image shows no class
    verdicts: NDArray[np.int16]  # [N], the place of each in the signature's verdicts


class Copy(NamedTuple):
    """A copy of a request: its first images, and what the champion made of them."""

    number: int  # for the reply; NO_REPLY if none is wanted
    seconds: float  # the champion's
    outcomes: Outcomes
    images: Images  # [N, H, W], N up to MOST_IMAGES


def outcomes_of(signature: Signature, predictions: Predictions, count: int) -> Outcomes:
    """What a model made of the first `count` images."""
    labels = predictions.labels[:count]
    shown = np.array([label is not None for label in labels], bool)
    verdicts = [signature.verdicts.index(verdict) for verdict in predictions.verdicts[:count]]
    classes = np.where(shown, predictions.classes[:count], -1).astype(np.int16)
    return Outcomes(classes, np.array(verdicts, np.int16))


def comparable(form: ImageForm, classes: int) -> int:
    """How many images of this form a copy has room for, and its reply with these classes."""
    largest = max(form.pixels + _OUTCOME, 4 * (2 * classes + 1))
    return max(1, min(MOST_IMAGES, MOST_BYTES // largest))


def copy_bytes(form: ImageForm, classes: int) -> int:
    """The largest number of bytes of a copy."""
    return _COPY.size + comparable(form, classes) * (_OUTCOME + form.pixels)


def pack_copy(copy: Copy) -> bytes:
    """The copy as bytes."""
    head = _COPY.pack(copy.number, copy.seconds)
    return b"".join([head, *(part.tobytes() for part in copy.outcomes), copy.images.tobytes()])


def unpack_copy(content: bytes, form: ImageForm) -> Copy:
    """The copy in bytes from `pack_copy`. ValueError if they are none."""
    number, seconds = _COPY.unpack_from(content)
    count, rest = divmod(len(content) - _COPY.size, _OUTCOME + form.pixels)
    if rest:
        raise ValueError("not a copy of images in this form")
    numbers = np.frombuffer(content, np.int16, 2 * count, _COPY.size)
    images = np.frombuffer(content, np.uint8, offset=_COPY.size + _OUTCOME * count)
    outcomes = Outcomes(numbers[:count], numbers[count:])
    return Copy(number, seconds, outcomes, images.reshape(count, *form.shape))


def pack_reply(number: int, answer: Answer | None) -> bytes:
    """The answer to the copy with this number, as a datagram; None: the challenger failed."""
    return b"".join([_REPLY.pack(number), *(part.tobytes() for part in answer or ())])


def unpack_reply(datagram: bytes, classes: int) -> tuple[int, Answer | None]:
    """The number of the copy, and the answer with these classes; None: the challenger failed."""
    (number,) = _REPLY.unpack_from(datagram)
    values = np.frombuffer(datagram, np.float32, offset=_REPLY.size)
    if not len(values):
        return number, None
    count = len(values) // (2 * classes + 1)
    logits, probabilities, novelty = np.split(values, [count * classes, 2 * count * classes])
    shape = count, classes
    return number, Answer(logits.reshape(shape), probabilities.reshape(shape), novelty)
