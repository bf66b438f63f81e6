"""Samples of throughput and latency, and the CPU time that other programs use meanwhile."""

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil
from tqdm import tqdm

from benchmarks.inference.engines import Engine, Images

SLICE = 0.03  # seconds of work in one sample of throughput
CALLS = 300  # calls in a row with one image, each a sample of latency
PAUSE = 0.08  # seconds; the threads of ONNX Runtime spin for 50 ms after a call


class Case(NamedTuple):
    """A configuration: an engine, its number of threads (0: one per core), a batch size."""

    engine: str
    threads: int
    batch_size: int


Sampler = Callable[[], list[float]]
Samples = dict[Case, list[float]]


def images_per_second(engine: Engine, images: Images, batch_size: int) -> float:
    """How many images the engine classifies per second."""
    started = time.perf_counter()
    engine(images, batch_size)
    return len(images) / (time.perf_counter() - started)


def throughput(engine: Engine, images: Images, batch_size: int, threads: int) -> Sampler:
    """A sampler of images/s, on as many images as take about SLICE seconds.

    Their number is a multiple of `threads` batches, so that no thread is idle at the end.
    """
    warm_up = images[: 2 * batch_size]
    images_per_second(engine, warm_up, batch_size)
    together = batch_size * threads
    times = round(SLICE * images_per_second(engine, warm_up, batch_size) / together)
    some = images[: max(times, 1) * together]

    def sample() -> list[float]:
        images_per_second(engine, warm_up, batch_size)
        return [images_per_second(engine, some, batch_size)]

    return sample


def latency(engine: Engine, images: Images) -> Sampler:
    """A sampler of the microseconds that the engine takes for one image."""

    def one(number: int) -> float:
        image = images[number % len(images)][None]
        started = time.perf_counter()
        engine(image, 1)
        return 1e6 * (time.perf_counter() - started)

    def sample() -> list[float]:
        for number in range(20):
            one(number)
        return [one(number) for number in range(CALLS)]

    return sample


def collect(samplers: dict[Case, Sampler], rounds: int, title: str) -> Samples:
    """The samples of each case, taken in turn, in an order that changes every round."""
    samples: Samples = {case: [] for case in samplers}
    order = random.Random(1)  # noqa: S311
    with tqdm(total=rounds * len(samplers), desc=title, unit=" samples") as progress:
        for _ in range(rounds):
            for case in order.sample(list(samplers), len(samplers)):
                time.sleep(PAUSE)
                samples[case] += samplers[case]()
                progress.update()
    return samples


def summarise(rates: Samples, times: Samples) -> dict[str, list[dict[str, Any]]]:
    """Each case with its samples of images/s, and with percentiles of its latency in µs."""
    return {
        "images_per_second": [
            {
                **case._asdict(),
                "median": round(median(samples)),
                "samples": list(map(round, samples)),
            }
            for case, samples in rates.items()
        ],
        "latency_us": [
            {
                **case._asdict(),
                "p50": round(float(np.percentile(samples, 50)), 1),
                "p99": round(float(np.percentile(samples, 99)), 1),
                "calls": len(samples),
            }
            for case, samples in times.items()
        ],
    }


class OtherPrograms:
    """Measures the share of CPU time that other programs use from now on."""

    def __init__(self) -> None:
        self.start = self._now()

    def share(self) -> float:
        """The fraction, 0..1, so far."""
        (wall, busy, own), (wall_0, busy_0, own_0) = self._now(), self.start
        others = (busy - busy_0) - (own - own_0)
        return round(max(0.0, others / (wall - wall_0) / (psutil.cpu_count() or 1)), 3)

    def _now(self) -> tuple[float, float, float]:
        """Seconds: wall-clock time, CPU time of all programs, CPU time of this process."""
        system, own = psutil.cpu_times(), psutil.Process().cpu_times()
        return time.monotonic(), system.user + system.nice + system.system, own.user + own.system
