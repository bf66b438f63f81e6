"""python -m benchmarks shadow: what a challenger costs the clients of the service.

wrk posts one image repeatedly on 1 and on 64 connections, to our service without a challenger and
with one that gets copies: a normal one, and one that is slow, hangs, fails or crashes. The services
take turns, so each has a partner without a challenger in the same round, whose p99 and rate are
compared with its own. A second service without a challenger shows how much they differ by chance.
wrk shares the cores with the services.

Writes reports/benchmarks/shadow.json and .md. Requires wrk (`apt-get install wrk`) and an idle
machine. Takes five minutes.
"""

import argparse
import shutil
import sys
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

CONNECTIONS = (1, 64)
SECONDS, ROUNDS = 3, 4
KINDS = ("normal", "slow", "hanging", "failing", "crashing")  # of challengers
COUNTED = ("challenger_requests_total", "challenger_dropped_total", "challenger_failures_total")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="seconds of each load")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--challengers", nargs="+", choices=KINDS, default=KINDS)


def main(
    workspace: Workspace,
    connections: Sequence[int],
    seconds: int,
    rounds: int,
    challengers: Sequence[str],
) -> None:
    """Measure and write the report."""
    if shutil.which("wrk") is None:
        raise UserError("wrk is missing: apt-get install wrk")
    names = (NONE, AGAIN, *challengers)
    with ExitStack() as stack:
        addresses = {name: start(stack, workspace.released_model, name) for name in names}
        signature = Classifier(workspace.released_model, threads=1).signature
        loads = take_turns(addresses, signature, connections, seconds, rounds)
        counts = {name: count(addresses[name]) for name in challengers}
    result = {"loads": loads, "counts": counts, "ratios": ratios(loads)}
    write_report(workspace, "shadow", result, show(result), ["fastapi", "httptools", "uvicorn"])


def start(stack: ExitStack, model: Path, name: str) -> str:
    """Start our service with this challenger; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.service.challenged_server", str(model), str(port)]
    command += [name]
    if name in (NONE, AGAIN):
        command = [sys.executable, "-m", "pipeline", "serve", "--model", str(model)]
        command += ["--port", str(port)]
    stack.enter_context(server(command, f"{address}/v2/health/live"))
    return address


def count(address: str) -> dict[str, float]:
    """What the service has counted of its challenger."""
    text = requests.get(f"{address}/metrics", timeout=30).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {name: sum(each.value for each in samples if each.name == name) for name in COUNTED}


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    rows = []
    for name, by_connections in result["loads"].items():
        for number, runs in by_connections.items():
            compared = ["", ""]
            if name != NONE:
                found = result["ratios"][name][number]
                compared = [median_and_range(found[key], ".2f") for key in ("p99", "rate")]
            rows.append(
                [
                    name,
                    number,
                    median_and_range(rates_of(runs), ",.0f"),
                    f"{1000 * median(run['p99'] for run in runs):.1f}",
                    *compared,
                    f"{sum(run['failed'] for run in runs):.0f}",
                ]
            )
    headers = ["challenger", "connections", "requests/s (range)", "p99, ms"]
    headers += ["p99, none = 1 (range)", "requests/s, none = 1 (range)", "failed"]
    counted = [
        [name, *(f"{counts[key]:,.0f}" for key in COUNTED)]
        for name, counts in result["counts"].items()
    ]
    return (
        f"{table(headers, rows)}\n\nRatios are medians of those in each round.\n\n"
        f"{table(['challenger', 'compared', 'dropped', 'failures'], counted)}"
    )
