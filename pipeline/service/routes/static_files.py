"""Static files, served from an explicit list of names."""

import os
from pathlib import Path

from fastapi.staticfiles import StaticFiles


class NamedFiles(StaticFiles):
    """Serves the files in a folder that have these names, and returns 404 for all others."""

    def __init__(self, folder: Path, *names: str) -> None:
        super().__init__(directory=folder)
        self._names = frozenset(names)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file's path and status; no status if it is not served."""
        return super().lookup_path(path) if path in self._names else ("", None)
