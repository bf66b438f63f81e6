"""python -m benchmarks serving: the HTTP service and other servers of the model under load.

wrk posts one image repeatedly on 1, 16, 64 and 256 connections; each connection sends its next
request when it has the answer. Our service, with a process per core, receives bytes and JSON by the
Open Inference Protocol and a PNG file. Other servers of the same model receive JSON: MLflow's as it
starts by default, with one process, and with one per core; LitServe with a worker per core. They
take turns. Then 64 connections post to our service for five minutes while its memory is watched.
wrk shares the cores with the servers.

Writes reports/benchmarks/serving.json, .md and .png. Requires wrk (`apt-get install wrk`) and an
idle machine. Takes sixteen minutes.
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
from statistics import median
from timeit import Timer
from typing import Any

import numpy as np
import psutil
import requests
from matplotlib.ticker import FuncFormatter, NullLocator
from mlflow.models import Model
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.report import reports, write_report
from benchmarks.servers import free_port, server
from benchmarks.service.baselines import JSON, Request, installed
from benchmarks.service.rates import Load, memory_growth, rates_of
from benchmarks.tables import median_and_range, table
from pipeline.core.errors import UserError
from pipeline.core.figures import Figure, save_figure
from pipeline.core.task import ImageForm
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.registry.mlflow_model import save_model

CONNECTIONS = (1, 16, 64, 256)
SECONDS, ROUNDS = 5, 3
SOAK_SECONDS, SOAK_CONNECTIONS = 300, 64
OURS, OURS_JSON, OURS_PNG = "ours, bytes", "ours, JSON", "ours, PNG"
WRK = ["wrk", "--threads=1", "--timeout=30", "--script", str(Path(__file__).with_suffix(".lua"))]

Loads = dict[str, dict[int, list[Load]]]  # by request and number of connections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="seconds of each load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--soak", type=float, default=SOAK_SECONDS, help="seconds of the soak test")


def main(
    workspace: Workspace, connections: Sequence[int], seconds: float, rounds: int, soak: float
) -> None:
    """Measure and write the report."""
    if shutil.which("wrk") is None:
        raise UserError("wrk is missing: apt-get install wrk")
    classifier = Classifier(workspace.released_model, threads=1)
    with ExitStack() as stack:
        service, compared = start_servers(stack, workspace.released_model, classifier)
        for request in compared.values():  # so that an error is reported, not counted
            answer = requests.post(request.url, request.body, headers=request.headers, timeout=30)
            answer.raise_for_status()
        loads: Loads = {name: {number: [] for number in connections} for name in compared}
        with tqdm(total=rounds * len(compared) * len(connections), unit=" loads") as progress:
            for _ in range(rounds):
                for name, request in compared.items():
                    for number in connections:
                        loads[name][number].append(load(request, number, seconds))
                        progress.update()
        soaked = soak_service(service, compared[OURS], soak)
    model = model_seconds(classifier)
    save_figure(draw(loads, soaked), reports(workspace) / "serving.png")
    result = {"loads": loads, "soak": soaked, "model_seconds": model}
    libraries = ["fastapi", "httptools", "litserve", "mlflow", "uvicorn", "uvloop"]
    write_report(workspace, "serving", result, show(loads, soaked, model), libraries)


def start_servers(
    stack: ExitStack, model: Path, classifier: Classifier
) -> tuple[psutil.Process, dict[str, Request]]:
    """Start our service and the baselines: our process, and the requests to send."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "pipeline", "serve", "--model", str(model), "--port", str(port)]
    service = stack.enter_context(server(serve, f"{address}/v2/health/live"))
    image = stroke(classifier.signature.form)
    compared = requests_of(address, image, classifier.signature.model)
    saved = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
    save_model(model.read_bytes(), classifier.signature, saved, Model())
    for name, baseline in installed().items():
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        command = baseline.command(saved, port)
        stack.enter_context(server(command, f"{address}{baseline.health}"))
        compared[name] = baseline.request(address, image)
    return service, compared


def stroke(form: ImageForm) -> NDArray[np.uint8]:
    """The image [H, W] of a vertical stroke."""
    image = np.zeros((form.height, form.width), np.uint8)
    image[form.height // 6 : -form.height // 6, form.width // 2 - 1 : form.width // 2 + 2] = 255
    return image


def requests_of(address: str, image: NDArray[np.uint8], model: str) -> dict[str, Request]:
    """An image [H, W] in the three forms that our service takes."""
    tensor = {"name": "images", "shape": [1, *image.shape], "datatype": "UINT8"}
    binary = {"parameters": {"binary_data_size": image.size}}
    binary_output = {"parameters": {"binary_data_output": True}}
    header = json.dumps({"inputs": [tensor | binary], **binary_output}).encode()
    picture = io.BytesIO()
    Image.fromarray(image).save(picture, "PNG")
    data = {"data": image.ravel().tolist()}
    infer = f"{address}/v2/models/{model}/infer"
    length = {"Inference-Header-Content-Length": str(len(header))}
    return {
        OURS: Request(infer, length, header + image.tobytes()),
        OURS_JSON: Request(infer, JSON, json.dumps({"inputs": [tensor | data]}).encode()),
        OURS_PNG: Request(f"{address}/predict", {"Content-Type": "image/png"}, picture.getvalue()),
    }


def load(request: Request, connections: int, seconds: float) -> Load:
    """Post for `seconds`. UserError if wrk fails."""
    # the server is still working on the requests that the last wrk left unanswered
    time.sleep(min(2, seconds / 2))
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        headers = [part for pair in request.headers.items() for part in ("-H", ": ".join(pair))]
        options = ["--connections", str(connections), "--duration", f"{seconds:g}s"]
        result = subprocess.run(
            [*WRK, *options, *headers, request.url, "--", body.name], capture_output=True, text=True
        )
    if result.returncode != 0:
        raise UserError(f"wrk failed: {result.stdout}{result.stderr}")
    found: Load = json.loads(result.stdout.splitlines()[-1])
    return found


def soak_service(process: psutil.Process, request: Request, seconds: float) -> dict[str, Any]:
    """Post for `seconds`: the load, and the resident bytes of the service's processes together,
    about once a second."""
    memory = []
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(load, request, SOAK_CONNECTIONS, seconds)
        with tqdm(total=seconds, desc="soak", unit="s") as progress:
            while not running.done():
                processes = [process, *process.children(recursive=True)]
                memory.append(sum(each.memory_info().rss for each in processes))
                time.sleep(1)
                progress.update(min(1, seconds - progress.n))
    return {"load": running.result(), "resident_bytes": memory}


def model_seconds(classifier: Classifier) -> dict[int, float]:
    """Seconds per image that the model alone takes on one core, by batch size."""
    form = classifier.signature.form
    found = {}
    for size in (1, 32):
        images = np.zeros((size, form.height, form.width), np.uint8)
        timer = Timer(lambda images=images: classifier.predict(images))  # type: ignore[misc]
        found[size] = min(timer.repeat(5, 2000 // size)) / (2000 // size) / size
    return found


def show(loads: Loads, soaked: dict[str, Any], model: dict[int, float]) -> str:
    """The report in Markdown."""
    rows = []
    for name, by_connections in loads.items():
        for connections, runs in by_connections.items():
            p50, p99 = (1000 * median(run[key] for run in runs) for key in ("p50", "p99"))
            failed = sum(run["failed"] for run in runs)
            rates = median_and_range(rates_of(runs), ",.0f")
            rows.append([name, connections, rates, f"{p50:.1f}", f"{p99:.1f}", f"{failed:.0f}"])
    headers = ["", "connections", "requests/s (range)", "p50, ms", "p99, ms", "failed"]
    load, memory = soaked["load"], soaked["resident_bytes"]
    busy = load["requests"] / load["seconds"]
    saved = (model[1] - model[32]) * busy
    return (
        f"{table(headers, rows)}\n\nSoak test: {SOAK_CONNECTIONS} connections for "
        f"{load['seconds']:.0f} s, {load['requests']:,.0f} requests as bytes, {load['failed']:.0f} "
        f"failed. The memory of its processes peaked at {max(memory) / 1e6:.0f} MB and changed by "
        f"{memory_growth(memory) / 1e6:+.1f} MB from the second fifth of the time to the last.\n\n"
        f"Would batching concurrent requests pay? The model takes {model[1] * 1e6:.0f} µs for a "
        f"single image and {model[32] * 1e6:.0f} µs per image in a batch of 32. At {busy:,.0f} "
        f"requests per second, batching would save at most {saved:.0%} of one core's time and make "
        "each request wait for others, so the service does not batch.\n\n"
        "![Requests per second and latency by connections; memory in the soak test](serving.png)"
    )


def draw(loads: Loads, soaked: dict[str, Any]) -> Figure:
    """Rate and latency by connections, and memory in the soak test."""
    figure, connections = Figure(figsize=(11, 3.6)), list(loads[OURS])
    rates, latencies, soak = figure.subplots(1, 3)
    for name, by_connections in loads.items():
        found = [median(rates_of(runs)) for runs in by_connections.values()]
        rates.plot(connections, found, ".-", label=name)
        p99 = [1000 * median(run["p99"] for run in runs) for runs in by_connections.values()]
        latencies.plot(connections, p99, ".-")
    rates.set(xscale="log", xlabel="connections", title="requests per second")
    rates.set_ylim(bottom=0)
    latencies.set(xscale="log", yscale="log", xlabel="connections", title="p99 latency, ms")
    for axes in (rates, latencies):
        axes.set_xticks(connections, [str(number) for number in connections], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    figure.legend(loc="outside lower center", ncols=len(loads))
    memory = soaked["resident_bytes"]
    soak.plot([number / 1e6 for number in memory])
    soak.set(
        xlabel="seconds of the soak test", title="memory, MB", ylim=(0, 1.2 * max(memory) / 1e6)
    )
    return figure
