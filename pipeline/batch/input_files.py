"""Expands names, folders and patterns to input files."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from pipeline.core.errors import UserError

ARRAYS = {".idx", ".npy"}  # these and all others also with .gz
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"} | ARRAYS
TABLES = {".parquet", ".pq"}  # read by `score` alone
LOCK = "lock"  # marks a folder *.partial as one in which `score` keeps its shards
KINDS = 6  # of ignored files that a report names


@dataclass
class InputFiles:
    """The input files in order, the errors, and the number of ignored files."""

    suffixes: set[str]
    files: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)  # files by suffix
    folders: set[str] = field(default_factory=set)  # real paths of all searched folders

    def reads(self, name: str) -> bool:
        """Whether a file in a folder is read, judged by its name."""
        return _suffix(name) in self.suffixes

    def report(self) -> None:
        """Print ignored files and errors to standard error. UserError if no file is left."""
        if self.ignored:
            by_count = sorted(self.ignored.items(), key=lambda item: (-item[1], item[0]))
            kinds = by_count[:KINDS]
            rest = self.ignored.total() - sum(count for _, count in kinds)
            named = [f"{count:,} {kind}" for kind, count in kinds]
            others = [f"{rest:,} others"] if rest else []
            print(f"ignored: {', '.join(named + others)}", file=sys.stderr)
        last = None if self.files else self.errors.pop()
        for error in self.errors:
            print(f"error: {error}", file=sys.stderr)
        if last is not None:
            raise UserError(last)


def find_input_files(names: Iterable[str], *, tables: bool = False) -> InputFiles:
    """Expand names, patterns (`scans/**/*.png`) and folders to files. A folder stands for all image
    files below it, and with `tables` for Parquet files too. If it has none, that is an error.

    Hidden names and __MACOSX in folders and patterns are ignored; links to folders are followed,
    each folder once. UserError for an empty name or a URL.
    """
    found = InputFiles(SUFFIXES | TABLES if tables else SUFFIXES)
    for name in names:
        if not name:
            raise UserError("an input name is empty: is a variable not set?")
        if name.lower().startswith(("http://", "https://")):
            raise UserError(f"{name} is a URL: download the file first")
        path = Path(name)
        if path.is_dir():
            _search(path, found)
        elif not os.path.lexists(path) and any(sign in name for sign in "*?["):
            _match(name, found)
        else:
            found.files.append(name)
    return found


def is_array(name: str) -> bool:
    """Whether a file may hold many images, judged by its name."""
    return _suffix(name) in ARRAYS | TABLES


def _suffix(name: str) -> str:
    """The suffix of a file's content, gzipped or not; MNIST's files have none."""
    path = Path(name.lower().removesuffix(".gz"))
    return ".idx" if "idx3" in path.name else path.suffix


def _search(folder: Path, found: InputFiles) -> None:
    files: list[str] = []
    for path in _walk(folder, found.folders, unreadable=files):
        if found.reads(path):
            files.append(path)
        else:
            found.ignored[Path(path).suffix.lower() or "without suffix"] += 1
    if not files:
        suffixes = ", ".join(sorted(found.suffixes))
        found.errors.append(f"{folder} has no image files ({suffixes})")
    found.files += sorted(files)


def _match(pattern: str, found: InputFiles) -> None:
    files = [
        path
        for path in glob(pattern, recursive=True)  # noqa: PTH207 (Path's takes no absolute one)
        if Path(path).is_file() and ("__MACOSX" in pattern or "__MACOSX" not in Path(path).parts)
    ]
    if not files:
        found.errors.append(f"no file matches {pattern}")
    found.files += sorted(files)


def _walk(folder: Path, seen: set[str], unreadable: list[str]) -> Iterator[str]:
    """All files under a folder that are not hidden; links to folders come last."""
    tops = [str(folder)]
    for top in tops:
        for parent, folders, names in os.walk(
            top, onerror=lambda error: unreadable.append(str(error.filename))
        ):
            real = os.path.realpath(parent)
            scratch = parent.endswith(".partial") and LOCK in names
            if real in seen or scratch:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if _shown(name)]
            inside = [str(Path(parent, name)) for name in folders]
            tops += [path for path in inside if os.path.islink(path)]  # noqa: PTH114
            yield from (str(Path(parent, name)) for name in names if _shown(name))


def _shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
