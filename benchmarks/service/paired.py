"""Loads on services that differ in one thing: each has a partner without it in the same round."""

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.service.rates import rates_of
from benchmarks.service.request import OURS, requests_of
from benchmarks.service.wrk import Loads, take_turns
from benchmarks.tables import median_and_range, table
from pipeline.inference.signature import Signature

NONE, AGAIN = "none", "none, again"  # the partner of all others, and the same once more
Ratios = dict[str, dict[int, dict[str, list[float]]]]  # by name, connections, and p99 or rate


def load_services(
    addresses: Mapping[str, str],
    signature: Signature,
    connections: Sequence[int],
    seconds: float,
    rounds: int,
) -> Loads:
    """Load services with bytes, in turn; see `take_turns`. `signature`: of the model of all."""
    named = {name: requests_of(address, signature)[OURS] for name, address in addresses.items()}
    return take_turns(named, connections, seconds, rounds)


def ratios(loads: Loads) -> Ratios:
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


def ratio_table(title: str, loads: Loads, ratios: Ratios) -> str:
    """A row for each service and number of connections, in Markdown. `title`: of the services."""
    rows = []
    for name, by_connections in loads.items():
        for number, runs in by_connections.items():
            compared = ["", ""]
            if name != NONE:
                found = ratios[name][number]
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
    headers = [title, "connections", "requests/s (range)", "p99, ms"]
    headers += ["p99, none = 1 (range)", "requests/s, none = 1 (range)", "failed"]
    return f"{table(headers, rows)}\n\nRatios are medians of those in each round."
