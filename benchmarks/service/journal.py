"""python -m benchmarks journal: what the journal costs the clients of the service.

wrk posts one image repeatedly on 1 and on 64 connections, to our service without a journal and with
one that keeps every image. The services take turns, so each load with a journal has a partner
without in the same round, whose p99 and rate are compared with its own. A second service without a
journal shows how much they differ by chance. wrk shares the cores with the services.

Writes reports/benchmarks/journal.json and .md. Requires wrk (`apt-get install wrk`) and an idle
machine. Takes three minutes.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import write_report
from benchmarks.servers import free_port, server
from benchmarks.service.paired import AGAIN, NONE, ratios, take_turns
from benchmarks.service.rates import rates_of
from benchmarks.tables import median_and_range, table
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.journal.keeping import RESULTS

CONNECTIONS = (1, 64)
SECONDS, ROUNDS = 5, 6
KEPT = "journal"
FLUSHED = 3  # seconds until the service has written what waits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="seconds of each load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)


def main(workspace: Workspace, connections: Sequence[int], seconds: float, rounds: int) -> None:
    """Measure and write the report."""
    if shutil.which("wrk") is None:
        raise UserError("wrk is missing: apt-get install wrk")
    names = (NONE, AGAIN, KEPT)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = workspace.released_model
        addresses = {name: start(stack, model, folder, name) for name in names}
        signature = Classifier(model, threads=1).signature
        loads = take_turns(addresses, signature, connections, seconds, rounds)
        time.sleep(FLUSHED)
        entries = count(addresses[KEPT])
        size = sum(path.stat().st_size for path in folder.glob("parts/*"))
    result = {"loads": loads, "ratios": ratios(loads), "entries": entries, "bytes": size}
    write_report(workspace, "journal", result, show(result), ["fastapi", "pyarrow", "uvicorn"])


def start(stack: ExitStack, model: Path, folder: Path, name: str) -> str:
    """Start our service, with a journal if that is its name; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "pipeline", "serve", "--model", str(model)]
    command += ["--port", str(port), *([f"--journal={folder}"] if name == KEPT else [])]
    stack.enter_context(server(command, f"{address}/v2/health/live"))
    return address


def count(address: str) -> dict[str, float]:
    """How many images the service has written, dropped and lost."""
    text = requests.get(f"{address}/metrics", timeout=30).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    found = {
        each.labels["result"]: each.value
        for each in samples
        if each.name == "journal_entries_total"
    }
    return {result: found[result] for result in RESULTS}


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    rows = []
    for name, by_connections in result["loads"].items():
        for number, runs in by_connections.items():
            compared = ["", ""]
            if name != NONE:
                found = result["ratios"][name][number]
                compared = [median_and_range(found[key], ".2f") for key in ("p99", "rate")]
            p99 = f"{1000 * median(run['p99'] for run in runs):.1f}"
            failed = f"{sum(run['failed'] for run in runs):.0f}"
            rate = median_and_range(rates_of(runs), ",.0f")
            rows.append([name, number, rate, p99, *compared, failed])
    headers = ["journal", "connections", "requests/s (range)", "p99, ms"]
    headers += ["p99, none = 1 (range)", "requests/s, none = 1 (range)", "failed"]
    entries = result["entries"]
    bytes_each = result["bytes"] / max(1, entries["written"])
    return (
        f"{table(headers, rows)}\n\nRatios are medians of those in each round. The journal wrote "
        f"{entries['written']:,.0f} images, of {bytes_each:.0f} bytes each, dropped "
        f"{entries['dropped']:,.0f} and lost {entries['failed']:,.0f}."
    )
