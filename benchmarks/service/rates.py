"""Rates and memory growth of loads on a server; uses the standard library only."""

from collections.abc import Sequence
from statistics import mean

Load = dict[str, float]  # requests, seconds, p50, p99 and failed


def rates_of(runs: Sequence[Load]) -> list[float]:
    """Requests per second of each run."""
    return [run["requests"] / run["seconds"] for run in runs]


def memory_growth(memory: Sequence[int]) -> float:
    """Growth in bytes from the second fifth to the last; the first fifth is warm-up."""
    fifth = max(1, len(memory) // 5)
    return mean(memory[-fifth:]) - mean(memory[fifth : 2 * fifth])
