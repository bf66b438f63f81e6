"""Waiting, for tests of real servers and processes."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], seconds: float = 300, *, pause: float = 0.1
) -> None:
    """Wait until the condition holds; fail after this time.

    `pause`: seconds between two looks; more if a look costs the machine time that others need.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"condition not met in {seconds:g} s"
        time.sleep(pause)
