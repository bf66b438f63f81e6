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
from matplotlib.ticker import FuncFormatter, NullLocator
from mlflow.models import Model
from tqdm import tqdm

from benchmarks.report import reports, write_report
from benchmarks.servers import free_port, our_service, server
from benchmarks.service.baselines import installed
from benchmarks.service.rates import memory_growth, rates_of
from benchmarks.service.request import OURS, Request, requests_of, stroke
from benchmarks.service.wrk import Loads, load, require_wrk, take_turns
from benchmarks.tables import median_and_range, table
from pipeline.core.figures import Figure, save_figure
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.inference.signature import Signature
from pipeline.registry.mlflow_model import save_model

CONNECTIONS = (1, 16, 64, 256)
SECONDS, ROUNDS = 5, 3
SOAK_SECONDS, SOAK_CONNECTIONS = 300, 64


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
    require_wrk()
    classifier = Classifier(workspace.released_model, threads=1)
    with ExitStack() as stack:
        service, compared = start_servers(stack, workspace.released_model, classifier.signature)
        loads = take_turns(compared, connections, seconds, rounds)
        soaked = soak_service(service, compared[OURS], soak)
    model = model_seconds(classifier)
    save_figure(draw(loads, soaked), reports(workspace) / "serving.png")
    result = {"loads": loads, "soak": soaked, "model_seconds": model}
    libraries = ["fastapi", "httptools", "litserve", "mlflow", "uvicorn", "uvloop"]
    write_report(workspace, "serving", result, show(loads, soaked, model), libraries)


def start_servers(
    stack: ExitStack, model: Path, signature: Signature
) -> tuple[psutil.Process, dict[str, Request]]:
    """Start our service and the baselines: our process, and the requests to send.

    `signature`: of the model.
    """
    address, service = stack.enter_context(our_service(model))
    compared = requests_of(address, signature)
    saved = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
    save_model(model.read_bytes(), signature, saved, Model())
    for name, baseline in installed().items():
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        command = baseline.command(saved, port)
        stack.enter_context(server(command, f"{address}{baseline.health}"))
        compared[name] = baseline.request(address, stroke(signature.form))
    return service, compared


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
