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
    days: float = 30.0  # the age at which entries and votes are deleted
    megabytes: float = 1000.0  # of all entries; beyond it, the oldest are deleted

    @property
    def bytes(self) -> float:
        """The same limit in bytes."""
        return 1_000_000 * self.megabytes


@dataclass(frozen=True)
class JournalSettings:
    """Which journal a service writes, and what it keeps."""

    root: Path
    keeping: Keeping = Keeping()
