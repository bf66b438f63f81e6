"""Limits on the cost of requests."""

from dataclasses import dataclass


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
