"""Starts and stops the journal. Only a service with a journal loads its code, and pyarrow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.journal.keeping import JournalSettings
from pipeline.service.journal_metrics import JournalMetrics
from pipeline.service.pool import ServedModel

if TYPE_CHECKING:
    from pipeline.service.journaling import Journal


def create_folder(settings: JournalSettings) -> None:
    """Create the folder of the journal, if needed. UserError if it cannot be one."""
    from pipeline.journal.folder import JournalFolder

    JournalFolder.create(settings.root)


def open_journal(
    settings: JournalSettings, model: ServedModel, metrics: JournalMetrics
) -> "Journal":
    """The journal of this process, for any model of the service. UserError as above."""
    from pipeline.service.journaling import Journal

    return Journal(settings, model.signature, metrics)


@contextmanager
def keeping(journal: "Journal | None") -> Iterator[None]:
    """Write the journal, if there is one, during the block; at its end, write what waits."""
    if journal is None:
        yield
        return
    journal.start()
    try:
        yield
    finally:
        journal.close()
