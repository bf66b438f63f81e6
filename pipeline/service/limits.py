"""Limits on the cost of requests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on the cost of requests; a client that exceeds one gets an error response."""

    body_bytes: int = 8 * 2**20  #: bytes of a body; beyond it, 413
    buffered_bytes: int = 256 * 2**20  #: bytes of all bodies together; beyond it, 503
    pixels: int = 16_000_000  #: per picture
    images: int = 8192  #: per request
    requests: int = 256  #: in progress, until the response is sent; beyond it, 503
    #: open connections; beyond it, the one that has been idle longest is closed
    connections: int = 4000
    head_seconds: float = 10  #: to send the head of a request
    seconds: float = 30  #: to send its body, and to read more of a response
    queue_seconds: float = 10  #: to wait for a free thread; beyond it, 503
