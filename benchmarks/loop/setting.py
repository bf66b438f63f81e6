"""Where the story happens: a workspace with its servers and people, and what is noted of it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.loop.chaos import LATEST, Chaos
from benchmarks.loop.machines import LONGEST, RUNS, Machines, wait_for
from benchmarks.loop.people import Answer, Clients, Reviewer
from benchmarks.loop.shifts import Traffic
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.registry.ledger import Act, Ledger, Line
from pipeline.registry.releases import Release, Releases
from tests.checkout import Checkout

WINDOW = 200  # images
REQUIRED = 300  # labels that a retraining requires
SCHEDULE = 20.0  # seconds between runs of the deployments, while servers are killed
WATCHED: dict[str, Any] = {"journal": "journal", "window": WINDOW, "enough_labels": REQUIRED}
SETTLED = 11.0  # seconds until monitoring counts on it that the journal is written
PARAMS: dict[str, dict[str, Any]] = {
    "collect": {"near": 0, "weight": 4},  # printed digits are much alike
    "evaluate": {"live_minimum": 30, "providers": ["CPUExecutionProvider"]},
    "gate": {"min_live_accuracy": 0.3},
    "release": {"live_margin": 0.3},
    "loop": {"labels": REQUIRED, "cooldown": 3600.0, "compared": 200, "patience": 120.0},
}


class Setting:
    """A workspace with small data, servers and people."""

    def __init__(self, scratch: Path, approval: str, shift: str, kill: int, seed: int) -> None:
        self.project = Checkout(scratch / "project")
        self.machines = Machines(self.project, scratch)
        self.project.set_params(PARAMS)
        self.approval, self.shift, self.kill, self.seed = approval, shift, kill, seed
        self.chaos = Chaos(self.machines, kill, seed)
        loop = {"approval": approval, "service": self.machines.url}
        self.project.set_params({"loop": loop})
        self.clients = Clients(self.machines.url, "mnist-cnn")
        self.reviewer = Reviewer(self.machines.url, self.machines.review_token)
        self.begun = self.sent = time.monotonic()
        self.events: list[tuple[float, str]] = []
        self.figures: dict[str, Any] = {}

    def send(self, traffic: Traffic) -> list[Answer]:
        """Send images; the answers."""
        found = self.clients.send(traffic)
        self.sent = time.monotonic()
        return found

    def monitor(self) -> str:
        """Run the deployment `monitor` once the journal is written; what it says."""
        time.sleep(max(0.0, self.sent + SETTLED - time.monotonic()))
        state = self.machines.run("monitor/monitor", **WATCHED)
        if state["type"] != "COMPLETED":
            raise UserError(f"monitor: {state['message']}")
        return f"{state['name']}, {state['message']}"

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for what `retrain` does; while servers are killed, all runs on a schedule."""
        asked = time.monotonic()

        def check() -> object:
            nonlocal asked
            if self.kill and time.monotonic() > asked + SCHEDULE:
                asked = time.monotonic()
                for deployment in RUNS:
                    parameters = WATCHED if deployment == "monitor" else {}
                    self.machines.submit(f"{deployment}/{deployment}", **parameters)
            return condition()

        wait_for(what, check, LONGEST if not self.kill else LONGEST + self.kill * LATEST)

    def note(self, text: str) -> None:
        """Note an event, and print it with its time."""
        seconds = time.monotonic() - self.begun
        self.events.append((seconds, text))
        print(f"{seconds:5.0f} s  {text}", flush=True)

    def lines(self, act: Act) -> list[Line]:
        """The lines of the ledger about an act."""
        return [line for line in self.ledger if line.act is act]

    @property
    def ledger(self) -> Sequence[Line]:
        """All lines of the ledger."""
        return Ledger(self.project.files.ledger).read()

    @property
    def champion(self) -> Release:
        """The champion."""
        found = Releases.of(self.project.files).champion()
        assert found is not None
        return found

    def result(self) -> dict[str, Any]:
        """The figures."""
        collected = self.project.files.collect_report
        return {
            "shift": self.shift,
            "seconds": round(time.monotonic() - self.begun),
            "events": [{"seconds": round(at), "text": text} for at, text in self.events],
            **self.figures,
            "requests": len(self.clients.answers),
            "errors": len(self.clients.errors),
            "first_error": next(iter(self.clients.errors), None),
            "seed": self.seed,
            "killed": self.chaos.killed,
            "retrainings": len(self.lines(Act.RETRAIN)),
            "collected": read_json(collected) if collected.exists() else None,
            "ledger": [
                {"act": line.act, "release": line.release, "reason": line.reason}
                for line in self.ledger
            ],
        }
