"""Journals for tests, written without a service."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from pipeline.journal.entry import VOTE_SCHEMA, blobs, entry_schema, lists
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import is_random, uuid7
from tests.digits import Images

CLASSES = 10
START = datetime(2026, 11, 1, tzinfo=UTC)
Vote = tuple[int, str, str]  # place of the entry, voter, label


def make_journal(
    root: Path,
    images: Images,
    labels: ArrayLike,
    votes: Sequence[Vote] = (),
    *,
    clients: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    start: datetime = START,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> list[str]:
    """Add entries to a journal, which is created if needed; their ids.

    The model says `labels`, with a probability of 0.91. The entries are a second apart, from
    `start` on, in one part. `votes`: on these entries, by their place. `columns`: other values of
    columns, for every entry.
    """
    folder, count = JournalFolder.create(root), len(images)
    times = [start + timedelta(seconds=number) for number in range(count)]
    if ids is None:
        ids = [uuid7(folder.key, time.timestamp()) for time in times]
    probabilities = np.full((count, CLASSES), 0.01, np.float32)
    named = np.asarray(labels)
    probabilities[np.arange(count), named] = 0.91
    values: dict[str, Any] = {
        "id": ids,
        "time": times,
        "model": ["mnist-cnn"] * count,
        "version": ["0" * 12] * count,
        "sha256": ["0" * 64] * count,
        "release": [1] * count,
        "pixels": blobs(images),
        "probabilities": lists(probabilities),
        "logits": lists(np.log(probabilities)),
        "verdict": ["digit"] * count,
        "label": [str(label) for label in named],
        "novelty": [0.0] * count,
        "source": ["predict"] * count,
        "client": list(clients or ["0" * 16] * count),
        "latency": [0.001] * count,
        "challenger": [None] * count,
        "random": [is_random(text) for text in ids],
    }
    table = pa.Table.from_pydict(values | dict(columns or {}), entry_schema(*images.shape[1:]))
    folder.write_part(table)
    if votes:
        add_votes(root, [(ids[place], voter, label) for place, voter, label in votes], times[-1])
    return list(ids)


def add_votes(root: Path, votes: Sequence[tuple[str, str, str]], time: datetime = START) -> None:
    """Add votes to a journal: the id of the entry, voter, label. Later calls write later files."""
    identifiers, voters, labels = (list(column) for column in zip(*votes, strict=True))
    rows = {"id": identifiers, "time": [time] * len(votes), "voter": voters, "label": labels}
    JournalFolder.existing(root).write_votes(pa.Table.from_pydict(rows, VOTE_SCHEMA))
