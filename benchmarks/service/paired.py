"""Loads on several services that take turns, so that each has a partner in the same round."""

from collections.abc import Mapping, Sequence

import requests
from tqdm import tqdm

from benchmarks.service.baselines import Request
from benchmarks.service.load import OURS, load, requests_of, stroke
from benchmarks.service.rates import Load, rates_of
from pipeline.inference.signature import Signature

NONE, AGAIN = "none", "none, again"  # the partner of all others, and the same once more

Loads = dict[str, dict[int, list[Load]]]  # by service and number of connections


def take_turns(
    addresses: Mapping[str, str],
    signature: Signature,
    connections: Sequence[int],
    seconds: float,
    rounds: int,
) -> Loads:
    """Load each service with the image of a stroke, in each round and with each of `connections`.

    `signature`: of the model of all services.
    """
    names, image = tuple(addresses), stroke(signature.form)
    asked: dict[str, Request] = {
        name: requests_of(address, image, signature.model)[OURS]
        for name, address in addresses.items()
    }
    for request in asked.values():  # so that an error is reported, not counted
        answer = requests.post(request.url, request.body, headers=request.headers, timeout=30)
        answer.raise_for_status()
    loads: Loads = {name: {number: [] for number in connections} for name in names}
    with tqdm(total=rounds * len(names) * len(connections), unit=" loads") as progress:
        for turn in range(rounds):
            for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
                for number in connections:
                    loads[name][number].append(load(asked[name], number, seconds))
                    progress.update()
    return loads


def ratios(loads: Loads) -> dict[str, dict[int, dict[str, list[float]]]]:
    """p99 and rate of each round, divided by those of NONE in the same round."""
    return {
        name: {
            number: {
                "p99": [
                    run["p99"] / other["p99"]
                    for run, other in zip(runs, loads[NONE][number], strict=True)
                ],
                "rate": [
                    run / other
                    for run, other in zip(
                        rates_of(runs), rates_of(loads[NONE][number]), strict=True
                    )
                ],
            }
            for number, runs in by_connections.items()
        }
        for name, by_connections in loads.items()
        if name != NONE
    }
