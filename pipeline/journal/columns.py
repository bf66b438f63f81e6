"""The entries that wait to be written.

They are kept by column, because a request then costs little, and leaves no objects behind.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.inference.classifier import Predictions
from pipeline.journal.entry import ENTRY_SCHEMA, blobs, entry_schema, lists
from pipeline.journal.ids import following, is_kept, is_random
from pipeline.journal.keeping import Source


class Model(NamedTuple):
    """What an entry says of the model that answered."""

    model: str
    version: str
    sha256: str
    release: int | None


class Ticket(NamedTuple):
    """A request that will be in the journal."""

    first: str  # id of its first image
    seconds: float  # since 1970
    source: Source
    address: str  # of the client


class Answered(NamedTuple):
    """A request that was answered."""

    ticket: Ticket
    model: Model
    images: NDArray[np.uint8]  # [N, H, W]
    predictions: Predictions  # [N]
    latency: float  # seconds
    challenger: tuple[str, Predictions] | None = None  # its version, and for the first images


class Columns:
    """The entries of requests about images of one form, to models with the same classes."""

    def __init__(self) -> None:
        self.bytes = 0  # of the images
        self._form: tuple[int, ...] = ()
        self._classes = 0
        self._requests: list[tuple[int, Ticket, Model, float]] = []
        self._others: list[tuple[int, str, Predictions]] = []  # with the number of the request
        self._pixels, self._novelty = bytearray(), bytearray()
        self._probabilities, self._logits = bytearray(), bytearray()
        self._verdicts: list[str] = []
        self._labels: list[str | None] = []

    def __len__(self) -> int:
        """The number of images."""
        return sum(images for images, *_ in self._requests)

    def append(self, answered: Answered) -> None:
        """Add the entries of a request."""
        ticket, model, images, predictions, latency, challenger = answered
        self._form, self._classes = images.shape[1:], predictions.logits.shape[1]
        self._pixels += images.tobytes()
        self._probabilities += predictions.probabilities.tobytes()
        self._logits += predictions.logits.tobytes()
        self._novelty += predictions.novelty.tobytes()
        self._verdicts += predictions.verdicts
        self._labels += predictions.labels
        if challenger is not None:
            self._others.append((len(self._requests), *challenger))
        self._requests.append((len(images), ticket, model, latency))
        self.bytes += images.size

    def table(self, share: float, client: Callable[[str], str]) -> pa.Table:
        """This share of the entries. `client`: the hash of an address.

        ValueError if the columns differ in length.
        """
        sizes, tickets, models, latencies = zip(*self._requests, strict=True)
        firsts, times, sources, addresses = zip(*tickets, strict=True)
        identifiers = list(chain.from_iterable(map(following, firsts, sizes)))
        of_request = pa.array(np.repeat(np.arange(len(sizes)), sizes))

        def column(name: str, values: Sequence[object]) -> pa.Array:
            """A value of each request, for each of its images."""
            return pc.take(pa.array(values, ENTRY_SCHEMA.field(name).type), of_request)

        by_class = (-1, self._classes)
        values: dict[str, Any] = {
            "id": pa.array(identifiers, pa.string()),
            "time": column("time", [round(1e6 * seconds) for seconds in times]),
            "pixels": blobs(np.frombuffer(self._pixels, np.uint8).reshape(-1, *self._form)),
            "probabilities": lists(_floats(self._probabilities).reshape(by_class)),
            "logits": lists(_floats(self._logits).reshape(by_class)),
            "verdict": self._verdicts,
            "label": pa.array(self._labels, pa.string()),
            "novelty": _floats(self._novelty),
            "source": column("source", sources),
            "client": column("client", [client(address) for address in addresses]),
            "latency": column("latency", latencies),
            "challenger": self._challenger(sizes),
            "random": [is_random(text) for text in identifiers],
        }
        for name, of_models in zip(Model._fields, zip(*models, strict=True), strict=True):
            values[name] = column(name, of_models)
        table = pa.Table.from_pydict(values, entry_schema(*self._form))
        if share >= 1:
            return table
        return table.filter(pa.array([is_kept(text, share) for text in identifiers], pa.bool_()))

    def _challenger(self, sizes: Sequence[int]) -> list[dict[str, str | None] | None]:
        """The challenger's answers for each image."""
        found: list[dict[str, str | None] | None] = [None] * sum(sizes)
        starts = np.cumsum([0, *sizes]).tolist()
        for request, version, predictions in self._others:
            answers = zip(predictions.labels, predictions.verdicts, strict=True)
            for place, (label, verdict) in enumerate(answers, starts[request]):
                found[place] = {"version": version, "label": label, "verdict": verdict}
        return found


def _floats(buffer: bytearray) -> NDArray[np.float32]:
    return np.frombuffer(buffer, np.float32)
