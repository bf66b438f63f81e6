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


def full_windows(
    journal: Path, model_sha256: str, size: int, after: Entry | None, now: datetime
) -> tuple[list[str], int]:
    """The ids of the entries that fill windows, in order, and the number of those that remain.

    Only entries of this model that follow `after` and had been written by `now` for certain.
    """
    since = after.time - SETTLED if after else None
    found = []
    for batch in entries(journal, since=since, columns=["id", "time", "sha256"]):
        columns = (batch.column(name).to_pylist() for name in ("id", "time", "sha256"))
        for identifier, time, digest in zip(*columns, strict=True):
            is_new = after is None or identifier > after.id
            if digest == model_sha256 and is_new and time <= now - SETTLED:
                found.append(identifier)
    found.sort()  # ids sort by time
    remaining = len(found) % size
    return found[: len(found) - remaining][-AT_ONCE * size :], remaining


def read_windows(
    journal: Path, ids: list[str], size: int, signature: Signature
) -> Iterator[Window]:
    """The windows of these entries. UserError if their form is not that of the model."""
    if not ids:
        return
    columns = ["id", "time", "pixels", "logits", "verdict", "label", "novelty"]
    rows: list[dict[str, Any]] = []
    for batch in entries(journal, ids=ids, columns=columns):
        answers = batch.select([name for name in columns if name != "pixels"]).to_pylist()
        images = pixels_of(batch)
        rows += [row | {"image": image} for row, image in zip(answers, images, strict=True)]
    rows.sort(key=lambda row: row["id"])
    for start in range(0, len(rows) - size + 1, size):  # fewer if some were removed meanwhile
        yield _window(journal, rows[start : start + size], signature)


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
