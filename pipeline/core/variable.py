"""An environment variable: its name, meaning and default."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """An environment variable."""

    name: str
    group: str
    meaning: str
    default: str = ""  # value if it is not set, or a description of what happens then

    def get(self) -> str | None:
        """The value; None if the variable is not set."""
        return os.environ.get(self.name)

    def set_default(self) -> None:
        """Set the variable to its default, for libraries that read it, unless it is already set."""
        os.environ.setdefault(self.name, self.default)
