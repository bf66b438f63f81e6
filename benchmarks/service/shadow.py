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
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.report import write_report
from benchmarks.servers import ALIVE, free_port, metrics, our_service, server
from benchmarks.service.paired import AGAIN, NONE, load_services, ratio_table, ratios
from benchmarks.service.wrk import require_wrk
from benchmarks.tables import table
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
    require_wrk()
    names = (NONE, AGAIN, *challengers)
    with ExitStack() as stack:
        addresses = {name: start(stack, workspace.released_model, name) for name in names}
        signature = Classifier(workspace.released_model, threads=1).signature
        loads = load_services(addresses, signature, connections, seconds, rounds)
        counts = {name: count(addresses[name]) for name in challengers}
    result = {"loads": loads, "counts": counts, "ratios": ratios(loads)}
    write_report(workspace, "shadow", result, show(result), ["fastapi", "httptools", "uvicorn"])


def start(stack: ExitStack, model: Path, name: str) -> str:
    """Start our service with this challenger; its address."""
    if name in (NONE, AGAIN):
        address, _ = stack.enter_context(our_service(model))
        return address
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.service.challenged_server", str(model), str(port)]
    stack.enter_context(server([*command, name], f"{address}{ALIVE}"))
    return address


def count(address: str) -> dict[str, float]:
    """What the service has counted of its challenger."""
    samples = metrics(address)
    return {name: sum(each.value for each in samples if each.name == name) for name in COUNTED}


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    counted = [
        [name, *(f"{counts[key]:,.0f}" for key in COUNTED)]
        for name, counts in result["counts"].items()
    ]
    return (
        f"{ratio_table('challenger', result['loads'], result['ratios'])}\n\n"
        f"{table(['challenger', 'compared', 'dropped', 'failures'], counted)}"
    )
