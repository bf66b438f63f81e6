"""Loads by wrk, which posts one request again and again on several connections."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests
from tqdm import tqdm

from benchmarks.service.rates import Load
from benchmarks.service.request import Request
from pipeline.core.errors import UserError

WRK = ["wrk", "--threads=1", "--timeout=30", "--script", str(Path(__file__).with_suffix(".lua"))]

Loads = dict[str, dict[int, list[Load]]]  # by name and number of connections, one of each round


def require_wrk() -> None:
    """UserError if wrk is not installed."""
    if shutil.which(WRK[0]) is None:
        raise UserError("wrk is missing: apt-get install wrk")


def take_turns(
    named: Mapping[str, Request], connections: Sequence[int], seconds: float, rounds: int
) -> Loads:
    """Post each request for `seconds`, in each round and on each number of connections.

    Each round begins with another request. UserError if wrk fails; HTTPError if a server does not
    answer a request.
    """
    names = tuple(named)
    for request in named.values():  # so that an error is reported, not counted
        answer = requests.post(request.url, request.body, headers=request.headers, timeout=30)
        answer.raise_for_status()
    loads: Loads = {name: {number: [] for number in connections} for name in names}
    with tqdm(total=rounds * len(names) * len(connections), unit=" loads") as progress:
        for turn in range(rounds):
            for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
                for number in connections:
                    loads[name][number].append(load(named[name], number, seconds))
                    progress.update()
    return loads


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
