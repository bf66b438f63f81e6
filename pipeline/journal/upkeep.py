"""Keeps a journal within its limits: age, bytes, number of files, and what is removed.

Files are moved, merged and rewritten as others are written: the new file appears whole before the
old ones are deleted. A reader may therefore find an entry twice, but never not at all.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.journal.folder import SUFFIX, JournalFolder
from pipeline.journal.keeping import Keeping
from pipeline.journal.retiring import retire
from pipeline.journal.rewriting import read, rewrite, sorted_files, written

SETTLED = 60.0  # seconds after which no process writes a file, or an entry from before
SPAN = 3600.0  # seconds: only new files of the same hour are merged
MANY = 60  # files of the present hour are merged once there are so many
LARGE = 8 * 2**20  # bytes: a file of this size is not merged with others
FEWEST = 10  # files that the limit of labelled entries has room for: the oldest goes alone


def keep_up(folder: JournalFolder, keeping: Keeping, now: float) -> None:
    """Enforce the limits, unless another process does so at present.

    `now`: seconds since 1970. Entries go at most an hour after their age. OSError if the disk is
    full: what can be deleted then is.
    """
    folder.restore()
    with suppress(Timeout), FileLock(folder.root / ".upkeep.lock", timeout=0):
        for files in (*folder.entry_folders, *folder.vote_folders):
            _delete_unfinished(files, now)
        retire(folder, keeping, now - 86_400 * keeping.days - SPAN)
        _erase(folder, now)
        for files in (folder.parts, folder.votes):
            _merge(files, now, SPAN, LARGE)
        for files in (folder.labelled_parts, folder.labelled_votes):
            _merge(files, now, math.inf, min(LARGE, keeping.labelled_bytes / FEWEST))


def _is_settled(time: float, now: float) -> bool:
    """Whether something is older than SETTLED, or from before the clock was set back."""
    return abs(now - time) > SETTLED


def _delete_unfinished(folder: Path, now: float) -> None:
    """Delete what a process was writing when it was killed."""
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(FileNotFoundError):
            if _is_settled(path.stat().st_mtime, now):
                path.unlink()


def _merge(folder: Path, now: float, span: float, large: float) -> None:
    """Merge the small files of each span of seconds to files of about `large` bytes."""
    groups: dict[float, list[Path]] = defaultdict(list)
    for path in sorted_files(folder):
        if _is_settled(written(path), now) and path.stat().st_size < large:
            groups[written(path) // span].append(path)
    for number, paths in groups.items():
        if len(paths) >= (MANY if number == now // span else 2):
            for some in _chunks(paths, large):
                if len(some) > 1:
                    rewrite(some, set())


def _chunks(paths: list[Path], large: float) -> Iterator[list[Path]]:
    """The files in groups of about `large` bytes."""
    chunk: list[Path] = []
    size = 0
    for path in paths:
        chunk.append(path)
        size += path.stat().st_size
        if size >= large:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _erase(folder: JournalFolder, now: float) -> None:
    """Erase the entries that are removed, and the votes on them."""
    marks = {path.name: path.stat().st_mtime for path in folder.removed.iterdir()}
    settled = {name for name, time in marks.items() if _is_settled(time, now)}
    if not settled:
        return
    for files in (*folder.entry_folders, *folder.vote_folders):
        for path in sorted_files(files):
            table = read(path, ["id"])
            if table is not None and not settled.isdisjoint(table["id"].to_pylist()):
                rewrite([path], settled)
    for name in settled:
        (folder.removed / name).unlink(missing_ok=True)
