"""The counts of a trial and its verdict, in memory that all its processes share.

Each process of the service and that of the challenger has a row, which it alone writes; a
reader adds them up. So all decide together, without a lock, and a process that dies leaves its
counts behind.
"""

import logging
import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.service.challenger.messages import Outcomes
from pipeline.service.challenger.sequential import GAMBLERS, SequentialTest
from pipeline.service.histograms import add
from pipeline.service.metrics import SECONDS

LOG = logging.getLogger(__name__)
LEVEL = 0.01  # probability that a trial ends although all that it tests is within what is tolerated
TOLERATED = 0.03  # share of requests that the two models may answer differently
SLOW_TOLERATED = 0.01  # share of requests for which the challenger may be slow: beyond its p99
FAILURES_TOLERATED = 0.001
TIMES, SLACK = 2, 0.02  # slow: takes TIMES as long as the champion and SLACK seconds
DEADLINE = 1.0  # seconds that a request waits for the challenger
Reason = Literal["disagreement", "latency", "failures", "crashed", "replaced"]
REASONS: tuple[Reason, ...] = get_args(Reason)  # why a trial ends
TESTS = REASONS[:3]  # those that a test finds
FAILURES = ("error", "deadline")
PAIRS = tuple((label, verdict) for label in ("same", "other") for verdict in ("same", "other"))
ROW = np.dtype(  # of one process
    [
        ("turn", np.int64),  # number of the trial in this service, from 0; only the latest counts
        ("ready", np.int64),  # whether this process has loaded the challenger
        ("release", np.int64),  # number of a challenger that is named only now; else 0
        ("sha256", "S64"),  # of its file
        ("ended", np.int64),  # place in REASONS, from 1; 0: not ended by this process
        ("requests", np.int64),  # compared
        ("differ", np.int64),  # of these, those with an image that the models answer differently
        ("slow", np.int64),  # of these, those for which the challenger was slow
        ("images", np.int64, len(PAIRS)),
        ("answered", np.int64),  # by the challenger, for a client
        ("dropped", np.int64),
        ("failures", np.int64, len(FAILURES)),
        ("champion", float, len(SECONDS) + 2),  # as in metrics.ROW
        ("challenger", float, len(SECONDS) + 2),
        ("log_wealth", float, (len(TESTS), GAMBLERS)),
    ]
)


@dataclass(frozen=True)
class Rules:
    """How a trial runs, and what is tolerated in it."""

    percent: float = 0  # of the requests that the challenger answers
    tolerated: float = TOLERATED  # share of requests that the models may answer differently
    deadline: float = DEADLINE  # seconds that a request waits for the challenger

    @property
    def is_canary(self) -> bool:
        """Whether the challenger answers requests; else, it only gets copies."""
        return self.percent > 0

    @cached_property
    def tests(self) -> Mapping[Reason, SequentialTest]:
        """The test of each of TESTS; together, they have the level LEVEL."""
        level = LEVEL / len(TESTS)
        shares = (self.tolerated, SLOW_TOLERATED, FAILURES_TOLERATED)
        return {
            name: SequentialTest(share, level) for name, share in zip(TESTS, shares, strict=True)
        }


class Trial:
    """A trial, as one of its processes sees it. Safe to use from several threads."""

    def __init__(self, rules: Rules, rows: NDArray[Any], process: int) -> None:
        """`rows`: a ROW for each process; this process writes that at `process`."""
        self.rules, self._rows, self._own = rules, rows, rows[process]
        self._lock = threading.Lock()

    def total(self, name: str) -> NDArray[Any]:
        """The sum over the processes of a number in ROW."""
        found: NDArray[Any] = self._current[name].sum(0)
        return found

    @property
    def turn(self) -> int:
        """The number of the trial in this service, from 0."""
        return int(self._rows["turn"].max())

    @property
    def running(self) -> bool:
        """Whether the challenger is loaded, and the trial has not ended."""
        return bool(self._current["ready"].any()) and self.reason is None

    def start(self, release: int = 0, sha256: str = "") -> None:
        """Note that this process has loaded the challenger; which one, if it is named only now."""
        with self._lock:
            self._join()
            self._own["release"], self._own["sha256"] = release, sha256.encode()
            self._own["ready"] = True  # last: others read it first

    def start_over(self) -> None:
        """Forget the challenger and all counts: another one will be loaded."""
        with self._lock:
            self._clear(self.turn + 1)

    @property
    def named(self) -> tuple[int, str] | None:
        """The release number and SHA-256 of a challenger that was named after the start."""
        for row in self._current[self._current["release"] > 0]:
            return int(row["release"]), row["sha256"].decode()
        return None

    @property
    def reason(self) -> Reason | None:
        """Why the trial has ended; None while it goes on."""
        ended = self._current["ended"].tolist()
        return REASONS[max(ended) - 1] if any(ended) else None

    def end(self, reason: Reason) -> None:
        """End the trial, if it has not ended: the champion then gets all requests."""
        with self._lock:
            if self.reason is None:
                self._join()
                self._own["ended"] = REASONS.index(reason) + 1
                LOG.warning("the trial of the challenger has ended: %s", self.explain())

    def record_comparison(
        self, champion: Outcomes, challenger: Outcomes, seconds: tuple[float, float]
    ) -> None:
        """Count a compared request; `seconds`: that each model took."""
        labels, verdicts = (a != b for a, b in zip(champion, challenger, strict=True))
        differ = bool((labels | verdicts).any())
        slow = seconds[1] > TIMES * seconds[0] + SLACK
        with self._lock:
            self._join()
            self._own["images"] += np.bincount(2 * labels + verdicts, minlength=len(PAIRS))
            for name, taken in zip(("champion", "challenger"), seconds, strict=True):
                add(self._own[name], bisect_left(SECONDS, taken), taken)
            self._own["requests"] += 1
            self._own["differ"] += differ
            self._own["slow"] += slow
            for test, event in zip(TESTS, (differ, slow, False), strict=True):
                self._add(test, event)
        self._judge()

    def record_failure(self, kind: str) -> None:
        """Count a request that the challenger failed to answer; `kind`: in FAILURES."""
        with self._lock:
            self._join()
            self._own["failures"][FAILURES.index(kind)] += 1
            self._add("failures", True)
        self._judge()

    def count(self, name: str) -> None:
        """Count a request as answered or dropped."""
        with self._lock:
            self._join()
            self._own[name] += 1

    def evidence(self) -> dict[Reason, float]:
        """The evidence of each test against the challenger."""
        wealth = self.total("log_wealth").tolist()
        tests = self.rules.tests.items()
        return {name: test.evidence(own) for (name, test), own in zip(tests, wealth, strict=True)}

    def explain(self) -> str | None:
        """Why the trial has ended, with the numbers; None while it goes on."""
        requests, failures = int(self.total("requests")), int(self.total("failures").sum())
        match self.reason:
            case "disagreement":
                return (
                    f"it answered {int(self.total('differ'))} of {requests} requests differently; "
                    f"{self.rules.tolerated:g} of them are tolerated"
                )
            case "latency":
                return (
                    f"it was slow for {int(self.total('slow'))} of {requests} requests: it took "
                    f"{TIMES} times as long as the champion and {1000 * SLACK:g} ms; "
                    f"{SLOW_TOLERATED:g} of them are tolerated"
                )
            case "failures":
                return f"it failed {failures} of {requests + failures} requests"
            case "crashed":
                return f"its process ended, after {requests} requests"
            case "replaced":
                return f"another champion has replaced the one it was compared with ({requests})"
        return None

    @property
    def _current(self) -> NDArray[Any]:
        """The rows of the processes that take part in the latest trial."""
        turns = self._rows["turn"]
        found: NDArray[Any] = self._rows[turns == turns.max()]
        return found

    def _join(self) -> None:
        """Take part in the latest trial from now on."""
        if self._own["turn"] < (turn := self.turn):
            self._clear(turn)

    def _clear(self, turn: int) -> None:
        for name in ROW.names or ():
            self._own[name] = 0 if name != "sha256" else b""
        self._own["turn"] = turn

    def _add(self, test: Reason, event: bool) -> None:
        self._own["log_wealth"][TESTS.index(test)] += self.rules.tests[test].log_growth(event)

    def _judge(self) -> None:
        """End a canary if a test rejects. A challenger that only gets copies does no harm."""
        if self.rules.is_canary and self.reason is None:
            for (name, test), wealth in zip(
                self.rules.tests.items(), self.total("log_wealth").tolist(), strict=True
            ):
                if test.rejects(wealth):
                    self.end(name)
