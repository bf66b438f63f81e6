"""Limits on the cost of requests."""

import resource
from contextlib import suppress
from dataclasses import dataclass, replace

OTHER_FILES = 200  # open files other than connections: the model, figures


@dataclass(frozen=True)
class Limits:
    """Limits on the cost of requests; a client that exceeds one gets an error response."""

    head_bytes: int = 2**16  #: bytes of the head of a request; beyond it, 431
    headers: int = 100  #: headers of a request; beyond it, 431
    body_bytes: int = 8 * 2**20  #: bytes of a body; beyond it, 413
    buffered_bytes: int = 256 * 2**20  #: bytes of all bodies together; beyond it, 503
    #: bytes of decoded pictures and parsed numbers; a request waits until there is room for it
    working_bytes: int = 2**30
    pixels: int = 16_000_000  #: pixels of a picture; beyond it, 400
    images: int = 8192  #: images of a request; beyond it, 400
    requests: int = 256  #: requests in progress; beyond it, 503
    #: open connections; beyond it, the one that has been idle longest is closed
    connections: int = 4000
    #: seconds for the head of a request; beyond it, the connection is closed
    head_seconds: float = 10
    #: seconds for the body of a request; beyond it, 408. The same for a client to read more of a
    #: response; beyond it, the connection is closed
    seconds: float = 30
    queue_seconds: float = 10  #: seconds to wait for a free thread or memory; beyond it, 503


def limits_of_process(processes: int) -> Limits:
    """The limits of each process, with no more connections than it may have open files.

    Connections are divided among the processes. In each, some remain for health checks even if all
    requests in progress are its own.
    """
    limits = Limits()
    connections = max(limits.connections // processes, 2 * limits.requests)
    connections = max(2, min(connections, _open_files(connections + OTHER_FILES) - OTHER_FILES))
    requests = min(limits.requests, connections // 2)
    return replace(limits, connections=connections, requests=requests)


def _open_files(wanted: int) -> int:
    """How many files a process may have open: `wanted` if the system allows that many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS enforces a lower limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
