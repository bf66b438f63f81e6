"""Waiting, for tests of real servers and processes."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until the condition holds; fail after this time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"condition not met in {seconds:g} s"
        time.sleep(0.1)
