"""python -m benchmarks.serving: the HTTP service under load, beside `mlflow models serve`.

wrk posts one image again and again on 1, 16, 64 and 256 connections, each sending its next request
when it has its answer: to our service as bytes and as JSON by the Open Inference Protocol and as a
PNG file, and to MLflow's server of the same model as JSON. They take turns. Then 64 connections
post for five minutes while the service's memory is watched. wrk shares the cores with the server.

Writes reports/benchmarks/serving.json, .md and .png. Needs wrk (`apt-get install wrk`) and an idle
machine; takes twelve minutes.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median
from timeit import Timer
from typing import Any, NamedTuple

import numpy as np
import psutil
import requests
from matplotlib.ticker import FuncFormatter, NullLocator
from mlflow.models import Model
from PIL import Image
from tqdm import tqdm

from benchmarks.report import REPORTS, table, write_report
from benchmarks.servers import free_port, server
from pipeline.core.figures import Figure, save_figure
from pipeline.core.paths import RELEASED_MODEL
from pipeline.inference import Classifier
from pipeline.service.app import MODEL
from pipeline.service.protocol import HEADER_LENGTH
from pipeline.tracking.registry import EXAMPLE, save_model

CONNECTIONS = (1, 16, 64, 256)
SECONDS, ROUNDS = 5, 3
SOAK_SECONDS, SOAK_CONNECTIONS = 300, 64
OURS, JSON, PNG, MLFLOW = "ours, bytes", "ours, JSON", "ours, PNG", "MLflow, JSON"
WRK = ["wrk", "--threads=1", "--timeout=30", "--script", str(Path(__file__).with_suffix(".lua"))]


class Way(NamedTuple):
    """How an image is posted."""

    url: str
    headers: dict[str, str]
    body: bytes


Load = dict[str, float]  # requests, seconds, p50, p99 and failed


def ways(ours: str, mlflow: str) -> dict[str, Way]:
    """The same image in the four forms; the arguments are the servers' addresses."""
    image = EXAMPLE[0]
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8"}
    binary = {"parameters": {"binary_data_size": image.size}}
    wanted = {"parameters": {"binary_data_output": True}}
    header = json.dumps({"inputs": [tensor | binary], **wanted}).encode()
    picture = io.BytesIO()
    Image.fromarray(image).save(picture, "PNG")
    data = {"data": image.ravel().tolist()}
    infer, kind = f"{ours}{MODEL}/infer", {"Content-Type": "application/json"}
    return {
        OURS: Way(infer, {HEADER_LENGTH: str(len(header))}, header + image.tobytes()),
        JSON: Way(infer, kind, json.dumps({"inputs": [tensor | data]}).encode()),
        PNG: Way(f"{ours}/predict", {"Content-Type": "image/png"}, picture.getvalue()),
        MLFLOW: Way(
            f"{mlflow}/invocations",
            kind,
            json.dumps({"inputs": {"images": [image.tolist()]}}).encode(),
        ),
    }


def load(way: Way, connections: int, seconds: float) -> Load:
    """Post for so long; sys.exit if that cannot be."""
    time.sleep(2)  # what wrk left unanswered when it ended last time is still being worked on
    with tempfile.NamedTemporaryFile() as body:
        body.write(way.body)
        body.flush()
        headers = [part for pair in way.headers.items() for part in ("-H", ": ".join(pair))]
        options = ["--connections", str(connections), "--duration", f"{seconds:g}s"]
        result = subprocess.run(
            [*WRK, *options, *headers, way.url, "--", body.name], capture_output=True, text=True
        )
    if result.returncode != 0:
        sys.exit(f"wrk failed: {result.stdout}{result.stderr}")
    found: Load = json.loads(result.stdout.splitlines()[-1])
    return found


def soak(process: psutil.Process, way: Way, seconds: float) -> dict[str, Any]:
    """Post for long: the load, and the service's resident bytes about once a second."""
    memory = []
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(load, way, SOAK_CONNECTIONS, seconds)
        with tqdm(total=seconds, desc="soak", unit="s") as bar:
            while not coming.done():
                memory.append(process.memory_info().rss)
                time.sleep(1)
                bar.update(min(1, seconds - bar.n))
    return {"load": coming.result(), "resident_bytes": memory}


def growth(memory: Sequence[int]) -> float:
    """Bytes from the second fifth to the last; the first is for warming up."""
    fifth = max(1, len(memory) // 5)
    return mean(memory[-fifth:]) - mean(memory[fifth : 2 * fifth])


def model_seconds() -> dict[int, float]:
    """What the model alone takes for an image on one core, by the size of the batch."""
    classifier = Classifier(threads=1)
    found = {}
    for size in (1, 32):
        images = np.zeros((size, 28, 28), np.uint8)
        timer = Timer(lambda images=images: classifier.predict(images))  # type: ignore[misc]
        found[size] = min(timer.repeat(5, 2000 // size)) / (2000 // size) / size
    return found


def main(seconds: float, rounds: int, soak_seconds: float) -> None:
    """Measure, and write the report."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    python = [sys.executable, "-m"]
    with ExitStack() as stack:
        saved = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        save_model(RELEASED_MODEL.read_bytes(), saved, Model())
        ports = free_port(), free_port()
        ours, theirs = (f"http://127.0.0.1:{port}" for port in ports)
        service = stack.enter_context(
            server(
                [*python, "pipeline", "serve", "--port", str(ports[0])], f"{ours}/v2/health/live"
            )
        )
        rival = [*python, "mlflow", "models", "serve", "--env-manager", "local"]
        rival += ["--model-uri", str(saved), "--port", str(ports[1])]
        stack.enter_context(server(rival, f"{theirs}/ping"))
        compared = ways(ours, theirs)
        for way in compared.values():  # so that an error is told, not counted
            requests.post(way.url, way.body, headers=way.headers, timeout=30).raise_for_status()
        loads: dict[str, dict[int, list[Load]]] = {
            name: {connections: [] for connections in CONNECTIONS} for name in compared
        }
        with tqdm(total=rounds * len(compared) * len(CONNECTIONS), unit=" loads") as bar:
            for _ in range(rounds):
                for name, way in compared.items():
                    for connections in CONNECTIONS:
                        loads[name][connections].append(load(way, connections, seconds))
                        bar.update()
        soaked = soak(service, compared[OURS], soak_seconds)
    model = model_seconds()
    save_figure(draw(loads, soaked), REPORTS / "serving.png")
    result = {"loads": loads, "soak": soaked, "model_seconds": model}
    libraries = ["fastapi", "h11", "uvicorn", "uvloop"]
    write_report("serving", result, show(loads, soaked, model), libraries)


def rates_of(runs: Sequence[Load]) -> list[float]:
    """Requests a second, from the fewest to the most."""
    return sorted(run["requests"] / run["seconds"] for run in runs)


def show(
    loads: dict[str, dict[int, list[Load]]], soaked: dict[str, Any], model: dict[int, float]
) -> str:
    """The report."""
    rows = []
    for name, by_connections in loads.items():
        for connections, runs in by_connections.items():
            rates = rates_of(runs)
            p50, p99 = (1000 * median(run[key] for run in runs) for key in ("p50", "p99"))
            rows.append([name, connections, f"{median(rates):,.0f}",
                         f"{rates[0]:,.0f} to {rates[-1]:,.0f}", f"{p50:.1f}", f"{p99:.1f}",
                         f"{sum(run['failed'] for run in runs):.0f}"])  # fmt: skip
    headers = ["", "connections", "requests/s, median", "from, to", "p50, ms", "p99, ms", "failed"]
    load, memory = soaked["load"], soaked["resident_bytes"]
    busy = median(rates_of(loads[OURS][SOAK_CONNECTIONS]))
    saved = (model[1] - model[32]) * busy
    return (
        f"{table(headers, rows)}\n\nSoak: {SOAK_CONNECTIONS} connections for "
        f"{load['seconds']:.0f} s, {load['requests']:,.0f} requests of bytes, {load['failed']:.0f} "
        f"failed; the service's memory was {max(memory) / 1e6:.0f} MB at most and "
        f"{growth(memory) / 1e6:+.1f} MB from the second fifth of the time to the last.\n\n"
        f"Would it pay to answer requests that come together as one batch? The model takes "
        f"{model[1] * 1e6:.0f} µs for an image alone and {model[32] * 1e6:.0f} µs for one of 32. "
        f"With {busy:,.0f} requests a second that would save {saved:.0%} of one core's time at "
        "most, and each request would wait for others: the service does not.\n\n"
        "![Requests a second and latency by connections; memory in the soak](serving.png)"
    )


def draw(loads: dict[str, dict[int, list[Load]]], soaked: dict[str, Any]) -> Figure:
    """Rate and latency by connections, and memory in the soak."""
    figure = Figure(figsize=(11, 3.6))
    rates, latencies, soak = figure.subplots(1, 3)
    for name, by_connections in loads.items():
        found = [median(rates_of(runs)) for runs in by_connections.values()]
        rates.plot(CONNECTIONS, found, ".-", label=name)
        p99 = [1000 * median(run["p99"] for run in runs) for runs in by_connections.values()]
        latencies.plot(CONNECTIONS, p99, ".-")
    rates.set(xscale="log", xlabel="connections", title="requests a second")
    rates.set_ylim(bottom=0)
    latencies.set(xscale="log", yscale="log", xlabel="connections", title="p99 latency, ms")
    for axes in (rates, latencies):
        axes.set_xticks(CONNECTIONS, [str(number) for number in CONNECTIONS], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    figure.legend(loc="outside lower center", ncols=len(loads))
    memory = soaked["resident_bytes"]
    soak.plot([number / 1e6 for number in memory])
    soak.set(xlabel="seconds of soak", title="memory, MB", ylim=(0, 1.2 * max(memory) / 1e6))
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--soak", type=float, default=SOAK_SECONDS, help="seconds")
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.rounds, arguments.soak)
