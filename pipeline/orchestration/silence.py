"""Shows that a stage without output is still running."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

SILENCE = 60.0  # seconds without output before the log says that the stage is still running


@contextmanager
def signs_of_life(
    stage: str, output: Sequence[str], log: Callable[[str], object]
) -> Iterator[None]:
    """While the block runs, log after each SILENCE without output that the stage is running."""
    start, done = time.monotonic(), threading.Event()

    def watch() -> None:
        heard = -1
        while not done.wait(SILENCE):
            if heard == (heard := len(output)):
                log(f"{stage} has been running for {time.monotonic() - start:.0f} s")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
