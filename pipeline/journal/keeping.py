"""What a journal keeps, and for how long."""

from dataclasses import dataclass


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
