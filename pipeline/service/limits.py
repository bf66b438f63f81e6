"""What requests may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What requests may cost."""

    body_bytes: int = 8 * 2**20  #: bytes of a body; a larger one gets 413
    buffered_bytes: int = 256 * 2**20  #: bytes of all bodies at a time; others get 503
    pixels: int = 16_000_000  #: of a picture
    images: int = 8192  #: in a request
    requests: int = 256  #: at a time, until their answers are sent; others get 503
    #: at a time; for another the one that has been idle longest is closed
    connections: int = 4000
    head_seconds: float = 10  #: until the head of a request is there
    #: until the body of a request is there, and until a client reads on in its answer
    seconds: float = 30
    queue_seconds: float = 10  #: until a thread is free to work on a request
