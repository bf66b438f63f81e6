"""python -m benchmarks canary: after how many compared requests a canary ends.

Simulates trials of challengers that answer a share of the requests differently from the champion,
with the sequential test of the service. Nothing is timed, and a fixed seed gives the same numbers
on every machine.

Writes reports/benchmarks/canary.json and .md. Takes about a minute.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.report import write_report
from benchmarks.tables import table
from pipeline.core.workspace import Workspace
from pipeline.service.challenger.sequential import SequentialTest
from pipeline.service.challenger.trial import Rules

RUNS = 20_000
SHARES = (0.01, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5)  # of requests that are answered differently
REQUESTS = 10_000  # compared in a trial that does not end
AT_ONCE = 500  # trials that are simulated together
QUANTILES = (0.5, 0.9, 0.99, 0.999)
BAD, SOON = 0.2, 120  # the share of a deliberately bad challenger; requests in which it must end
SEED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--runs", type=int, default=RUNS, help="trials for each share")


def main(workspace: Workspace, runs: int) -> None:
    """Simulate and write the report."""
    test = Rules().tests["disagreement"]
    random = np.random.default_rng(SEED)
    ended = {share: simulate(test, share, runs, random) for share in tqdm(SHARES, unit=" shares")}
    result = {
        "tolerated": test.tolerated,
        "level": test.level,
        "runs": runs,
        "requests": REQUESTS,
        "seed": SEED,
        "ended_share": {f"{share:g}": float((ends > 0).mean()) for share, ends in ended.items()},
        "quantiles": {f"{share:g}": quantiles(ends) for share, ends in ended.items()},
        "bad": {
            "share": BAD,
            "requests": SOON,
            "ended_share": float(((ended[BAD] > 0) & (ended[BAD] <= SOON)).mean()),
        },
    }
    write_report(workspace, "canary", result, show(result), [])


def simulate(
    test: SequentialTest, share: float, runs: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """After how many requests each of the trials ends, [runs]; 0 if it does not.

    Requests are answered differently independently, with probability `share`. The evidence grows
    with these alone, so only they are simulated: at geometric distances.
    """
    most = int(REQUESTS * share + 8 * (REQUESTS * share) ** 0.5) + 10  # ever found in REQUESTS
    events = np.arange(1, most + 1)
    growth = test.log_growth([0.0, 1.0])
    found = []
    for start in range(0, runs, AT_ONCE):
        size = min(AT_ONCE, runs - start)
        requests = random.geometric(share, (size, most)).cumsum(1)
        wealth = np.zeros(requests.shape)
        for without, with_event in growth.T:
            log_wealth = events * with_event + (requests - events) * without
            wealth += np.exp(log_wealth.clip(max=100)) / len(growth.T)
        rejected = (wealth >= 1 / test.level) & (requests <= REQUESTS)
        first = requests[np.arange(size), rejected.argmax(1)]
        found.append(np.where(rejected.any(1), first, 0))
    return np.concatenate(found)


def quantiles(ends: NDArray[np.int64]) -> list[int | None]:
    """The requests after which each of QUANTILES of the trials have ended; None: fewer have."""
    ordered = np.sort(np.where(ends == 0, REQUESTS + 1, ends))
    at = [
        int(ordered[min(len(ordered) - 1, int(np.ceil(q * len(ordered))) - 1)]) for q in QUANTILES
    ]
    return [number if number <= REQUESTS else None for number in at]


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    bad = result["bad"]
    return (
        f"{rows(result)}\n\nEach row is {result['runs']:,} simulated trials of "
        f"{result['requests']:,} compared requests or fewer. The test tolerates that "
        f"{result['tolerated']:.0%} are answered differently, at the level {result['level']:.4f}. "
        f"Of the challengers that answer {bad['share']:.0%} differently, {bad['ended_share']:.2%} "
        f"end within {bad['requests']} compared requests. Seed: {result['seed']}."
    )


def rows(result: dict[str, Any]) -> str:
    """A row for each share: how many trials end, and the quantiles of the requests until then."""
    headers = ["answered differently", "trials that end"]
    headers += [f"{quantile:.1%} end by request".replace(".0%", "%") for quantile in QUANTILES]
    return table(
        headers,
        [
            [f"{float(share):.0%}", f"{result['ended_share'][share]:.2%}"]
            + ["-" if number is None else f"{number:,}" for number in found]
            for share, found in result["quantiles"].items()
        ],
    )
