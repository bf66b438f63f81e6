"""What tests of real servers and processes have in common."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Return when the condition holds; fail if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
