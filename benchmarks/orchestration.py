"""python -m benchmarks.orchestration: what the flow costs when there is nothing to do.

Times, in turn, in this folder, with every stage up to date: `dvc repro`, and `python -m pipeline
flow` on a Prefect server that is up already and on one of its own. Writes medians and extremes to
reports/benchmarks/orchestration.json and .md.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from tabulate import tabulate
from tqdm import tqdm

from pipeline import environment
from pipeline.files import write_json, write_text

REPORT = Path("reports/benchmarks/orchestration")
DVC = [sys.executable, "-m", "dvc", "repro"]
FLOW = [sys.executable, "-m", "pipeline", "flow"]


def main(rounds: int) -> None:
    """Run each command `rounds` times, one after the other, and write the table."""
    with tempfile.TemporaryDirectory() as home, prefect_server(Path(home)) as server:
        alone = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        alone["PREFECT_HOME"] = f"{home}/alone"
        ways = {
            "`dvc repro`": (DVC, os.environ),
            "flow, server up": (FLOW, os.environ | server),
            "flow, own server": (FLOW, alone),
        }
        for command, variables in ways.values():  # the first of each also makes bytecode, databases
            seconds(command, variables)
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in tqdm(range(rounds), unit=" rounds"):
            for way, (command, variables) in ways.items():
                times[way].append(seconds(command, variables))
    write_json(
        REPORT.with_suffix(".json"),
        {"hardware": environment.hardware(), "seconds": times},
    )
    base = statistics.median(times["`dvc repro`"])
    rows = [
        [way, *(f"{value:.1f}" for value in (statistics.median(t), min(t), max(t))),
         f"{statistics.median(t) - base:+.1f}"]
        for way, t in times.items()
    ]  # fmt: skip
    headers = ["all stages cached", "median, s", "min", "max", "more than `dvc repro`, s"]
    table = tabulate(rows, headers, "github", disable_numparse=True, stralign="right")
    write_text(REPORT.with_suffix(".md"), f"{rounds} rounds in turn.\n\n{table}\n")
    print(table)


def seconds(command: list[str], variables: Mapping[str, str]) -> float:
    """How long a command takes that must find every stage up to date."""
    started = time.perf_counter()
    result = subprocess.run(command, env=variables, capture_output=True, text=True)
    taken = time.perf_counter() - started
    said = result.stdout + result.stderr
    if result.returncode != 0 or "Running stage" in said:
        sys.exit(f"{' '.join(command)}: run `dvc repro` first, and let nothing else run\n{said}")
    return taken


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """A server with a store of its own; gives the variables that lead to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    variables = {"PREFECT_HOME": str(home / "server"), "PREFECT_SERVER_API_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start"],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(api):
            if process.poll() is not None:
                sys.exit("the Prefect server did not start")
            time.sleep(0.5)
        yield variables | {"PREFECT_API_URL": api}
    finally:
        process.terminate()
        process.wait()


def answers(api: str) -> bool:
    """Whether a server does at this address."""
    try:
        return requests.get(f"{api}/health", timeout=5).ok
    except requests.RequestException:
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args().rounds)
