"""python -m benchmarks.inference: how fast the released network answers, and beside what.

The same weights run on the test images by

- ours: the fused export, as `python -m pipeline predict` and the stage evaluate run it
- plain export: of the unfused network, one `session.run` of ONNX Runtime after the other
- PyTorch, eager and compiled
- OpenVINO with our file: as it is by default (in bfloat16 where the processor can), in float32
- int8: our file with 8-bit integers in its inner convolutions, calibrated on training images

in batches of 1, 8, 32 and 256, on 1 and 2 threads. The base is the plain export on all test images
in one `session.run`. A round measures every way once, in random order, so that a slow moment of the
machine hits all alike. Some are measured again beside a program that keeps one core busy.

Writes reports/benchmarks/inference.json, .md and .png. Needs `dvc repro` before, for weights and
images, and a machine on which nothing else runs. Takes three minutes with 10 rounds, longer the
first time, when PyTorch compiles.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil
from safetensors.torch import load_file
from tqdm import tqdm

from benchmarks import engines
from benchmarks.engines import Engine, Images
from benchmarks.inference_report import (
    COMPILED,
    EAGER,
    INT8,
    INT8_ALL,
    OPENVINO,
    OPENVINO_FLOAT32,
    OURS,
    OURS_ALL,
    PLAIN,
    WHOLE,
    draw,
    headline,
    show,
)
from benchmarks.report import REPORTS, write_report
from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import existing, read_tensors, write_bytes
from pipeline.core.paths import TEST, TRAIN, WEIGHTS
from pipeline.mnist.network import Classifier, build_network
from pipeline.stages.export import to_onnx
from pipeline.training.fusion import FusedClassifier

BATCHES = [1, 8, 32, 256]  # images
THREADS = [1, 2]
SLICE = 0.03  # seconds of work that are one sample of throughput
CALLS = 300  # single images in a row, each a sample of latency
PAUSE = 0.08  # seconds; for 50 ms after a call the threads of ONNX Runtime wait in a busy loop
CALIBRATION = 1000  # training images

COMPARED_BESIDE = [OURS, PLAIN, OPENVINO]  # another program


class Case(NamedTuple):
    """What is measured: a way, on so many threads (0: one per core), in batches of that size."""

    way: str
    threads: int
    batch_size: int


Sampler = Callable[[], list[float]]
Samples = dict[Case, list[float]]


class Way(NamedTuple):
    """How to build an engine on so many threads: one for many images, one for single ones."""

    throughput: Callable[[int], Engine]
    latency: Callable[[int], Engine]


def build_ways(folder: Path) -> dict[str, Way]:
    """All that are compared. Their ONNX files are written to the folder."""
    network = build_network()
    network.load_state_dict(load_file(existing(WEIGHTS)))
    classifier = Classifier(network).eval()
    plain, fused, int8 = (folder / f"{name}.onnx" for name in ("plain", "fused", "int8"))
    for path, module in ((plain, classifier), (fused, FusedClassifier(network))):
        write_bytes(path, to_onnx(module, load_params().export.opset).SerializeToString())
    engines.quantise(fused, int8, read_tensors(TRAIN)["images"][:CALIBRATION])

    def same(build: Callable[[Any, int], Engine], subject: Any) -> Way:
        return Way(lambda threads: build(subject, threads), lambda threads: build(subject, threads))

    def openvino(precision: str | None) -> Way:
        return Way(
            lambda threads: engines.openvino_throughput(fused, threads, precision),
            lambda threads: engines.openvino_latency(fused, threads, precision),
        )

    return {
        OURS: same(engines.ours, fused),
        PLAIN: same(engines.onnx_runtime, plain),
        EAGER: same(engines.eager, classifier),
        COMPILED: same(engines.compiled, classifier),
        OPENVINO: openvino(None),
        OPENVINO_FLOAT32: openvino("f32"),
        INT8: same(engines.ours, int8),
    }


def images_per_second(engine: Engine, images: Images, batch_size: int) -> float:
    """How many images the engine answers in a second."""
    started = time.perf_counter()
    engine(images, batch_size)
    return len(images) / (time.perf_counter() - started)


def throughput(engine: Engine, images: Images, batch_size: int) -> Sampler:
    """What measures images/s, on as many images as are worked off in about SLICE seconds."""
    warm_up = images[: 2 * batch_size]
    images_per_second(engine, warm_up, batch_size)
    together = batch_size * THREADS[-1]  # so that no thread is without work at the end
    times = round(SLICE * images_per_second(engine, warm_up, batch_size) / together)
    part = images[: max(times, 1) * together]

    def sample() -> list[float]:
        images_per_second(engine, warm_up, batch_size)
        return [images_per_second(engine, part, batch_size)]

    return sample


def latency(engine: Engine, images: Images) -> Sampler:
    """What measures the microseconds that single images take."""

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


def measure(samplers: dict[Case, Sampler], rounds: int, title: str) -> Samples:
    """The samples of each, taken in turn, in an order that changes from round to round."""
    samples: Samples = {case: [] for case in samplers}
    order = random.Random(1)  # noqa: S311
    with tqdm(total=rounds * len(samplers), desc=title, unit=" samples") as bar:
        for _ in range(rounds):
            for case in order.sample(list(samplers), len(samplers)):
                time.sleep(PAUSE)
                samples[case] += samplers[case]()
                bar.update()
    return samples


class Others:
    """How much of all cores other programs take, from when this is made."""

    def __init__(self) -> None:
        """Start."""
        self.before = self._now()

    def share(self) -> float:
        """The fraction, 0..1, until now."""
        (wall, busy, own), (wall_0, busy_0, own_0) = self._now(), self.before
        others = (busy - busy_0) - (own - own_0)
        return round(max(0.0, others / (wall - wall_0) / (psutil.cpu_count() or 1)), 3)

    def _now(self) -> tuple[float, float, float]:
        """Seconds: on the clock, in which a core worked, in which one worked for us."""
        system, own = psutil.cpu_times(), psutil.Process().cpu_times()
        return time.monotonic(), system.user + system.nice + system.system, own.user + own.system


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(rounds: int, folder: Path) -> dict[str, Any]:
    """Build and measure all: the content of the report."""
    test = read_tensors(TEST)
    images, labels = test["images"], test["labels"]
    ways = build_ways(folder)
    pairs = list(product(ways, THREADS))
    engine = {pair: ways[pair[0]].throughput(pair[1]) for pair in pairs}
    answers = {name: engine[name, THREADS[-1]](images, 8) for name in ways}

    ours, int8, plain = (ways[way].throughput(0) for way in (OURS, INT8, PLAIN))
    rates: dict[Case, Sampler] = {
        Case(OURS_ALL, 0, 32): lambda: [images_per_second(ours, images, 32)],
        Case(INT8_ALL, 0, 32): lambda: [images_per_second(int8, images, 32)],
        Case(WHOLE, 0, len(images)): lambda: [images_per_second(plain, images, len(images))],
    }
    on_all = list(rates)
    for pair, size in tqdm(list(product(pairs, BATCHES)), desc="warm up", unit=" ways"):
        rates[Case(*pair, size)] = throughput(engine[pair], images, size)
    times = {Case(*pair, 1): latency(ways[pair[0]].latency(pair[1]), images) for pair in pairs}
    some = [*on_all, *(Case(name, THREADS[-1], BATCHES[-2]) for name in COMPARED_BESIDE)]
    few = [Case(name, threads, 1) for name in COMPARED_BESIDE for threads in THREADS]

    for case in on_all:
        rates[case]()  # the first call on all images fetches the memory
    others = Others()
    alone = summarise(measure(rates, rounds, "images/s"), measure(times, rounds, "latency"))
    disturbed = others.share()
    with busy_core():
        beside = summarise(
            measure({case: rates[case] for case in some}, rounds, "images/s, busy core"),
            measure({case: times[case] for case in few}, rounds, "latency, busy core"),
        )
    agreement = [
        {
            "way": name,
            "other_predictions": int((logits.argmax(1) != answers[PLAIN].argmax(1)).sum()),
            "max_logit_difference": float(np.abs(logits - answers[PLAIN]).max()),
            "test_accuracy": float((logits.argmax(1) == labels).mean()),
        }
        for name, logits in answers.items()
    ]
    return {
        "headline": headline(alone),
        "rounds": rounds,
        "disturbed": disturbed,
        "threads": THREADS,
        "batch_sizes": BATCHES,
        "alone": alone,
        "beside_busy_core": beside,
        "agreement": agreement,
        "min_accuracy": load_params().gate.min_accuracy,
    }


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


def main(rounds: int) -> None:
    """Measure, and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(rounds, Path(folder))
    save_figure(draw(result), REPORTS / "inference.png")
    write_report("inference", result, show(result), ["openvino"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="samples of each way (10)")
    try:
        main(parser.parse_args().rounds)
    except UserError as error:
        sys.exit(f"error: {error}")
