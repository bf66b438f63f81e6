"""A bounded queue of copies in shared memory, from a process of the service to the challenger's.

One process puts, another one takes, and neither waits. A process that is killed in the middle
leaves no half of a copy: an entry counts once it is whole.
"""

import ctypes
from typing import Any

import numpy as np

from pipeline.service.processes import SPAWN

LENGTH = 64  # copies
_COUNTERS = 2  # numbers before the entries: how many copies were put, and how many were taken
_WORD = 8  # bytes


def allocate(size: int) -> Any:
    """Memory for a queue of copies of up to `size` bytes each."""
    return SPAWN.RawArray(ctypes.c_byte, _WORD * _COUNTERS + LENGTH * (_WORD + size))


class CopyQueue:
    """A queue in memory from `allocate`, as one of its two processes uses it."""

    def __init__(self, memory: Any) -> None:
        head = _WORD * _COUNTERS
        self._counters = np.frombuffer(memory, np.int64, _COUNTERS)
        self._entries = np.frombuffer(memory, np.uint8, offset=head).reshape(LENGTH, -1)

    def put(self, content: bytes) -> bool:
        """Append a copy; False if there is no room for it."""
        put, taken = self._counters.tolist()
        if put - taken >= LENGTH or len(content) > self._entries.shape[1] - _WORD:
            return False
        entry = self._entries[put % LENGTH]
        entry[:_WORD].view(np.int64)[0] = len(content)
        entry[_WORD : _WORD + len(content)] = np.frombuffer(content, np.uint8)
        self._counters[0] = put + 1
        return True

    def take(self) -> bytes | None:
        """Remove the first copy; None if there is none."""
        put, taken = self._counters.tolist()
        if taken >= put:
            return None
        entry = self._entries[taken % LENGTH]
        size = int(entry[:_WORD].view(np.int64)[0])
        content: bytes = entry[_WORD : _WORD + size].tobytes()
        self._counters[1] = taken + 1
        return content
