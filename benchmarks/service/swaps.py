"""python -m benchmarks swaps: the service changes its model under load.

64 connections post images, one after the other, to the service in a process per core. Meanwhile,
two releases are promoted in turn, and the processes follow. Every answer is compared, byte for
byte, with the answer that the version it names gave before. The memory of the service is watched.

The second release is the released model with slightly changed weights, so that its answers differ.
Both are in a temporary workspace.

Writes reports/benchmarks/swaps.json and .md. Takes four minutes.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from numpy.typing import NDArray
from onnx import numpy_helper
from tqdm import tqdm

from benchmarks.report import write_report
from benchmarks.servers import ALIVE, free_port, metrics, server
from benchmarks.service.checked_load import Checked, CheckedLoad
from benchmarks.service.rates import memory_growth
from benchmarks.tables import table
from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes, write_json
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier, golden
from pipeline.inference.choice import unpack
from pipeline.inference.providers import available_cores
from pipeline.inference.session import OnnxModel
from pipeline.registry import acts
from pipeline.registry.answers import Answers
from pipeline.registry.folder import ANSWERS, CARD, GOLDEN, METRICS, PROVENANCE, Release

SWAPS, SECONDS, CONNECTIONS = 100, 180.0, 64
CHANGE = 1.02  # factor of the changed weights
LONGEST = 30  # seconds until all processes have followed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--swaps", type=int, default=SWAPS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="seconds of all swaps")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)


def main(workspace: Workspace, swaps: int, seconds: float, connections: int) -> None:
    """Measure and write the report. UserError if an answer is wrong or missing."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Workspace(Path(scratch))
        write_bytes(copy.params, workspace.params.read_bytes())
        releases, images = make_releases(workspace, copy)
        port = free_port()
        health = f"http://127.0.0.1:{port}{ALIVE}"
        serve = [sys.executable, "-m", "pipeline", "--workspace", scratch, "serve"]
        with server([*serve, "--port", str(port)], health) as process:
            classifiers = [Classifier(release.model, threads=1) for release in releases]
            load = CheckedLoad(port, images, classifiers)
            with posting(load, connections):
                result = swap(copy, releases, process, port, swaps, seconds)
    result |= summary(load.seen, connections)
    write_report(workspace, "swaps", result, show(result), ["fastapi", "uvicorn"])
    if load.seen.errors:
        raise UserError(f"{len(load.seen.errors)} requests failed, first: {load.seen.errors[0]}")


def make_releases(workspace: Workspace, copy: Workspace) -> tuple[list[Release], NDArray[np.uint8]]:
    """Register the released model and a changed one in `copy`; also images, uint8 [N, H, W]."""
    path = workspace.released_model
    judged = JudgedProviders.read(path.with_name(JUDGED_PROVIDERS))
    releases = []
    for factor in (1, CHANGE):
        with acts.new_folder(copy) as folder:
            model = onnx.load(path)
            change_weights(model, factor)
            onnx.save(model, folder / path.name)
            made = OnnxModel(folder / path.name)
            images = unpack(judged.images, made.signature.form)
            only_cpu = {"model_sha256": made.sha256, "providers": judged.providers[:1]}
            judged.model_copy(update=only_cpu).write(folder / JUDGED_PROVIDERS)
            for name in (CARD, PROVENANCE):
                write_bytes(folder / name, path.with_name(name).read_bytes())
            write_bytes(folder / METRICS, workspace.metrics.read_bytes())
            write_json(folder / GOLDEN, golden.make(made, images))
            no_answers = np.zeros(0, np.uint8)  # nothing is judged here
            Answers.of(made.sha256, "none", no_answers).write(folder / ANSWERS)
            acts.seal(folder)
            release = acts.register(copy, folder, "for the benchmark")
        releases.append(acts.promote(copy, release.number, "for the benchmark"))
    return releases, images


def change_weights(model: onnx.ModelProto, factor: float) -> None:
    """Multiply the largest weight tensor by a factor."""
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = numpy_helper.to_array(weights) * np.float32(factor)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))


@contextmanager
def posting(load: CheckedLoad, connections: int) -> Iterator[None]:
    """Post in a thread during the block."""
    thread = threading.Thread(target=lambda: asyncio.run(load.run(connections)))
    thread.start()
    try:
        yield
    finally:
        load.stop()
        thread.join()


def swap(
    workspace: Workspace,
    releases: Sequence[Release],
    process: psutil.Process,
    port: int,
    swaps: int,
    seconds: float,
) -> dict[str, Any]:
    """Promote the releases in turn; how long each took to answer, and the memory meanwhile."""
    followed, memory = [], []
    begun = time.monotonic()
    for number in tqdm(range(swaps), unit=" swaps"):
        release = releases[number % 2]
        acts.promote(workspace, release.number, "for the benchmark")
        promoted = time.monotonic()
        while champions(port) != {str(release.number)}:
            if time.monotonic() > promoted + LONGEST:
                raise UserError(f"the service does not follow to release {release.number}")
            time.sleep(0.02)
        followed.append(time.monotonic() - promoted)
        time.sleep(max(0, begun + seconds * (number + 1) / swaps - time.monotonic()))
        processes = [process, *process.children(recursive=True)]
        memory.append(sum(each.memory_info().rss for each in processes))
    return {
        "swaps": swaps,
        "seconds": time.monotonic() - begun,
        "processes": available_cores(),
        "followed_seconds": followed,
        "resident_bytes": memory,
        "memory_growth_bytes": memory_growth(memory),
    }


def champions(port: int) -> set[str]:
    """The numbers of the releases that are the champion in some process of the service."""
    found = metrics(f"http://127.0.0.1:{port}")
    return {sample.labels["release"] for sample in found if sample.name == "model_champion"}


def summary(seen: Checked, connections: int) -> dict[str, Any]:
    """Counts of answers and errors, and their latency."""
    p50, p99 = np.quantile(seen.seconds, [0.5, 0.99]).tolist()
    return {
        "connections": connections,
        "requests": len(seen.seconds),
        "answers_by_version": seen.answers,
        "errors": len(seen.errors),
        "p50_seconds": p50,
        "p99_seconds": p99,
    }


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    memory, followed = result["resident_bytes"], result["followed_seconds"]
    rows = [
        ["swaps", f"{result['swaps']:,}"],
        ["seconds", f"{result['seconds']:.0f}"],
        ["connections", f"{result['connections']:,}"],
        ["requests", f"{result['requests']:,}"],
        ["errors and wrong answers", f"{result['errors']:,}"],
        ["seconds until all processes have swapped, median", f"{np.median(followed):.2f}"],
        ["the same, longest", f"{max(followed):.2f}"],
        ["latency p50, ms", f"{1000 * result['p50_seconds']:.1f}"],
        ["latency p99, ms", f"{1000 * result['p99_seconds']:.1f}"],
        ["memory after the first swap, MB", f"{memory[0] / 1e6:.0f}"],
        ["memory after the last swap, MB", f"{memory[-1] / 1e6:.0f}"],
        [
            "growth from the second fifth to the last, MB",
            f"{result['memory_growth_bytes'] / 1e6:+.1f}",
        ],
    ]
    return table(["Swaps under load", ""], rows)
