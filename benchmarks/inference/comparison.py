"""python -m benchmarks inference: the speed of the released network and of other engines.

Compares these engines on the same weights and the test images:

- ours: the fused export, as the pipeline runs it, by ONNX Runtime's providers for CPU and OpenVINO
- plain export: the unfused network, in successive calls of ONNX Runtime's `session.run`
- PyTorch, eager and compiled
- OpenVINO with our file: by default (bfloat16 where the processor supports it), and in float32
- int8: our file with inner convolutions in 8-bit integers, calibrated on training images, by the
  same two providers

Batches have 1, 8, 32 and 256 images, on 1 and 2 threads. The baseline is the plain export on all
test images in one `session.run`. A round measures every engine once, in random order, so that a
slow moment of the machine affects all alike. Some engines are measured again while another process
keeps one core busy.

Writes reports/benchmarks/inference.json, .md and .png. Requires `dvc repro` first, for weights and
images, and an idle machine whose processor has bfloat16. Takes four minutes with 10 rounds, and
longer the first time, when PyTorch compiles.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.busy import busy_core
from benchmarks.inference import engines
from benchmarks.inference.engines import Engine, Images
from benchmarks.inference.report import (
    COMPILED,
    EAGER,
    INT8,
    INT8_OPENVINO,
    OPENVINO,
    OPENVINO_FLOAT32,
    OURS,
    OURS_OPENVINO,
    PLAIN,
    WHOLE,
    draw,
    headline,
    show,
)
from benchmarks.inference.sampling import (
    Case,
    OtherPrograms,
    Sampler,
    collect,
    images_per_second,
    latency,
    summarise,
    throughput,
)
from benchmarks.models import task_of, write_onnx
from benchmarks.report import reports, write_report
from pipeline.config import load_params
from pipeline.core.figures import save_figure
from pipeline.core.files import read_tensors
from pipeline.core.workspace import Workspace
from pipeline.inference import providers
from pipeline.training.detector import Detector, build_detector
from pipeline.training.fusion import ClassifierWithDetector, FusedClassifier, FusedDetector
from pipeline.training.network import Classifier, build_network, load_weights

BATCHES = [1, 8, 32, 256]  # images
THREADS = [1, 2]
CALIBRATION = 1000  # training images
ON_BUSY_CORES = [OURS, OURS_OPENVINO, PLAIN, OPENVINO]
ON_ALL_IMAGES = {
    name: providers.BATCH_SIZES[provider]
    for name, provider in {
        OURS_OPENVINO: providers.OPENVINO,
        OURS: providers.CPU,
        INT8_OPENVINO: providers.OPENVINO,
        INT8: providers.CPU,
    }.items()
}


class Builders(NamedTuple):
    """Functions from a number of threads to an engine: for many images, for single images."""

    throughput: Callable[[int], Engine]
    latency: Callable[[int], Engine]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--rounds", type=int, default=10, help="samples of each engine (10)")


def main(workspace: Workspace, rounds: int) -> None:
    """Measure and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(workspace, rounds, Path(folder))
    save_figure(draw(result), reports(workspace) / "inference.png")
    write_report(workspace, "inference", result, show(result), ["openvino"])


def build_engines(workspace: Workspace, folder: Path) -> dict[str, Builders]:
    """The engines to compare. Writes their ONNX files to the folder."""
    task, opset = task_of(workspace), load_params(workspace.params).export.opset
    network = load_weights(build_network(task), workspace.weights)
    detector = load_weights(build_detector(task), workspace.detector)
    trained = ClassifierWithDetector(Classifier(network, task), Detector(detector, task)).eval()
    exported = ClassifierWithDetector(FusedClassifier(network, task), FusedDetector(detector, task))
    plain, fused, int8 = (folder / f"{name}.onnx" for name in ("plain", "fused", "int8"))
    for path, module in ((plain, trained), (fused, exported)):
        write_onnx(path, module.eval(), task, opset)
    calibration = read_tensors(workspace.training_set)["images"][:CALIBRATION]
    engines.quantise(fused, int8, calibration)

    def same(build: Callable[..., Engine], subject: Any, *options: str) -> Builders:
        def builder(threads: int) -> Engine:
            return build(subject, threads, *options)

        return Builders(builder, builder)

    def openvino(precision: str | None) -> Builders:
        return Builders(
            lambda threads: engines.openvino_throughput(fused, threads, precision),
            lambda threads: engines.openvino_latency(fused, threads, precision),
        )

    return {
        OURS: same(engines.ours, fused, providers.CPU),
        OURS_OPENVINO: same(engines.ours, fused, providers.OPENVINO),
        PLAIN: same(engines.onnx_runtime, plain),
        EAGER: same(engines.eager, trained),
        COMPILED: same(engines.compiled, trained),
        OPENVINO: openvino(None),
        OPENVINO_FLOAT32: openvino("f32"),
        INT8: same(engines.ours, int8, providers.CPU),
        INT8_OPENVINO: same(engines.ours, int8, providers.OPENVINO),
    }


def run(workspace: Workspace, rounds: int, folder: Path) -> dict[str, Any]:
    """Build and measure all engines; returns the content of the report."""
    test = read_tensors(workspace.test_set)
    images, labels = test["images"], test["labels"]
    builders = build_engines(workspace, folder)
    pairs = list(product(builders, THREADS))
    engine = {(name, threads): builders[name].throughput(threads) for name, threads in pairs}
    answers = {name: engine[name, THREADS[-1]](images, 8) for name in builders}
    on_all = whole_set(builders, images)
    rates = dict(on_all)
    for pair, size in tqdm(list(product(pairs, BATCHES)), desc="warm up", unit=" engines"):
        rates[Case(*pair, size)] = throughput(engine[pair], images, size, THREADS[-1])
    times = {
        Case(name, threads, 1): latency(builders[name].latency(threads), images)
        for name, threads in pairs
    }
    for sampler in on_all.values():
        sampler()  # the first call on all images allocates the memory
    others = OtherPrograms()
    idle = summarise(collect(rates, rounds, "images/s"), collect(times, rounds, "latency"))
    disturbed = others.share()
    some = [*on_all, *(Case(name, THREADS[-1], BATCHES[-2]) for name in ON_BUSY_CORES)]
    few = [Case(name, threads, 1) for name in ON_BUSY_CORES for threads in THREADS]
    with busy_core():
        busy = summarise(
            collect({case: rates[case] for case in some}, rounds, "images/s, busy core"),
            collect({case: times[case] for case in few}, rounds, "latency, busy core"),
        )
    agreement = [
        {
            "engine": name,
            "other_predictions": int((logits.argmax(1) != answers[PLAIN].argmax(1)).sum()),
            "max_logit_difference": float(np.abs(logits - answers[PLAIN]).max()),
            "test_accuracy": float((logits.argmax(1) == labels).mean()),
        }
        for name, logits in answers.items()
    ]
    return {
        "headline": headline(idle),
        "rounds": rounds,
        "disturbed": disturbed,
        "threads": THREADS,
        "batch_sizes": BATCHES,
        "idle": idle,
        "busy_core": busy,
        "agreement": agreement,
        "min_accuracy": load_params(workspace.params).gate.min_accuracy,
    }


def whole_set(builders: dict[str, Builders], images: Images) -> dict[Case, Sampler]:
    """Samplers of images/s on all images at once, on all cores."""

    def sampler(name: str, batch_size: int) -> Sampler:
        engine = builders[name].throughput(0)
        return lambda: [images_per_second(engine, images, batch_size)]

    count = len(images)
    return {
        **{
            Case(f"{name}, all images", 0, size): sampler(name, size)
            for name, size in ON_ALL_IMAGES.items()
        },
        Case(WHOLE, 0, count): sampler(PLAIN, count),
    }
