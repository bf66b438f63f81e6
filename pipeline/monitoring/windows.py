"""The windows of a journal: entries of one model in order, each in one window at most."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError
from pipeline.inference.signature import Signature
from pipeline.journal.entry import pixels_of
from pipeline.journal.reading import entries
from pipeline.monitoring.image_statistics import Images
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.thresholds import SMALLEST

AT_ONCE = 100  # windows; of a longer backlog, the older ones are left out
SETTLED = timedelta(seconds=10)  # by then a service has written an entry


class Entry(NamedTuple):
    """The first or last entry of a window."""

    id: str
    time: datetime


class Window(NamedTuple):
    """The images of a window with their answers, in the order of the journal."""

    first: Entry
    last: Entry
    images: Images
    observations: Observations
    novelty: NDArray[np.float32]  # [N]
    labels: list[str]  # [N], the answers


class Due(NamedTuple):
    """The entries to judge now."""

    ids: list[str]  # in order
    sizes: list[int]  # of the windows that they fill
    waiting: int  # entries that follow


def due_windows(
    journal: Path,
    model_sha256: str,
    size: int,
    after: Entry | None,
    now: datetime,
    patience: timedelta | None = None,
) -> Due:
    """The windows of so many entries that are full.

    With `patience`, also the last one if its first entry has waited that long. It then has the
    entries that there are, in steps of SMALLEST: each size has its thresholds. Only entries
    of this model count that follow `after` and had been written by `now` for certain.
    """
    since = after.time - SETTLED if after else None
    found: list[tuple[str, datetime]] = []
    for batch in entries(journal, since=since, columns=["id", "time", "sha256"]):
        columns = (batch.column(name).to_pylist() for name in ("id", "time", "sha256"))
        for identifier, time, digest in zip(*columns, strict=True):
            is_new = after is None or identifier > after.id
            if digest == model_sha256 and is_new and time <= now - SETTLED:
                found.append((identifier, time))
    found.sort()  # ids sort by time
    sizes = [size] * (len(found) // size)
    rest = found[len(sizes) * size :]
    if patience is not None and rest and rest[0][1] <= now - patience:
        sizes += [steps] if (steps := len(rest) // SMALLEST * SMALLEST) else []
    judged = sum(sizes)
    sizes = sizes[-AT_ONCE:]
    ids = [identifier for identifier, _ in found[judged - sum(sizes) : judged]]
    return Due(ids, sizes, len(found) - judged)


def read_windows(journal: Path, due: Due, signature: Signature) -> Iterator[Window]:
    """The windows of these entries. UserError if their form is not that of the model."""
    if not due.ids:
        return
    columns = ["id", "time", "pixels", "logits", "verdict", "label", "novelty"]
    rows: list[dict[str, Any]] = []
    for batch in entries(journal, ids=due.ids, columns=columns):
        answers = batch.select([name for name in columns if name != "pixels"]).to_pylist()
        images = pixels_of(batch)
        rows += [row | {"image": image} for row, image in zip(answers, images, strict=True)]
    rows.sort(key=lambda row: row["id"])
    for size in due.sizes:
        if len(rows) < size:  # some were removed meanwhile
            return
        yield _window(journal, rows[:size], signature)
        rows = rows[size:]


def _window(journal: Path, rows: list[dict[str, Any]], signature: Signature) -> Window:
    shapes = {(row["image"].shape, len(row["logits"])) for row in rows}
    if shapes != {(signature.form.shape, len(signature.labels))}:
        raise UserError(
            f"{journal} has entries of another form than {signature.model}: name the journal of "
            "a service that serves this model"
        )
    images = np.stack([row["image"] for row in rows])
    logits = np.array([row["logits"] for row in rows], np.float32)
    verdicts = [row["verdict"] for row in rows]
    first, last = (Entry(rows[end]["id"], rows[end]["time"]) for end in (0, -1))
    return Window(
        first,
        last,
        images,
        Observations.of_answers(images, logits, verdicts, signature),
        np.array([row["novelty"] for row in rows], np.float32),
        [row["label"] or row["verdict"] for row in rows],
    )
