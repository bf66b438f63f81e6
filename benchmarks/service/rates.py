"""What the loads on a server say; the standard library alone."""

from collections.abc import Sequence
from statistics import mean

Load = dict[str, float]  # requests, seconds, p50, p99 and failed


def rates_of(runs: Sequence[Load]) -> list[float]:
    """Requests a second."""
    return [run["requests"] / run["seconds"] for run in runs]


def memory_growth(memory: Sequence[int]) -> float:
    """Bytes from the second fifth to the last; the first is for warming up."""
    fifth = max(1, len(memory) // 5)
    return mean(memory[-fifth:]) - mean(memory[fifth : 2 * fifth])
