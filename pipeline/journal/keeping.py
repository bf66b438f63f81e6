"""What a journal keeps, and for how long."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WRITTEN, DROPPED, FAILED = "written", "dropped", "failed"
RESULTS = (WRITTEN, DROPPED, FAILED)  # what happens to an entry or vote
Source = Literal["predict", "page", "protocol"]  # which interface an image came by


@dataclass(frozen=True)
class Keeping:
    """The limits of a journal."""

    share: float = 1.0  # of the images
    days: float = 30.0  # the age at which entries without votes are deleted
    megabytes: float = 1000.0  # of all entries; beyond it, the oldest without votes are deleted
    labelled_megabytes: float = 1000.0  # of entries with votes beyond these limits, by themselves

    @property
    def bytes(self) -> float:
        """The limit of all entries in bytes."""
        return 1_000_000 * self.megabytes

    @property
    def labelled_bytes(self) -> float:
        """The limit of entries that are kept because of votes, in bytes."""
        return 1_000_000 * self.labelled_megabytes


@dataclass(frozen=True)
class JournalSettings:
    """Which journal a service writes, and what it keeps."""

    root: Path
    keeping: Keeping = Keeping()
