"""python -m benchmarks journal: what the journal costs the clients of the service.

wrk posts one image repeatedly on 1 and on 64 connections, to our service without a journal and with
one that keeps every image. The services take turns, so each load with a journal has a partner
without in the same round, whose p99 and rate are compared with its own. A second service without a
journal shows how much they differ by chance. wrk shares the cores with the services.

Writes reports/benchmarks/journal.json and .md. Requires wrk (`apt-get install wrk`) and an idle
machine. Takes four minutes.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.report import write_report
from benchmarks.servers import metrics, our_service
from benchmarks.service.paired import AGAIN, NONE, load_services, ratio_table, ratios
from benchmarks.service.wrk import require_wrk
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
    require_wrk()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = workspace.released_model
        addresses = {}
        for name in (NONE, AGAIN, KEPT):
            options = ["--journal", str(folder)] if name == KEPT else []
            service = our_service(model, *options)
            addresses[name], _ = stack.enter_context(service)
        signature = Classifier(model, threads=1).signature
        loads = load_services(addresses, signature, connections, seconds, rounds)
        time.sleep(FLUSHED)
        entries = count(addresses[KEPT])
        size = sum(path.stat().st_size for path in folder.glob("parts/*"))
    result = {"loads": loads, "ratios": ratios(loads), "entries": entries, "bytes": size}
    write_report(workspace, "journal", result, show(result), ["fastapi", "pyarrow", "uvicorn"])


def count(address: str) -> dict[str, float]:
    """How many images the service has written, dropped and lost."""
    found = {
        each.labels["result"]: each.value
        for each in metrics(address)
        if each.name == "journal_entries_total"
    }
    return {result: found[result] for result in RESULTS}


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    entries = result["entries"]
    bytes_each = result["bytes"] / max(1, entries["written"])
    return (
        f"{ratio_table('journal', result['loads'], result['ratios'])} The journal wrote "
        f"{entries['written']:,.0f} images, of {bytes_each:.0f} bytes each, dropped "
        f"{entries['dropped']:,.0f} and lost {entries['failed']:,.0f}."
    )
