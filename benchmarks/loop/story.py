"""python -m benchmarks loop: the whole loop on this machine, with real servers.

In a temporary folder, the small digit set gives a first release. A service with two processes
serves it and keeps a journal; Prefect's server and worker have the deployments `monitor` and
`retrain`. Clients send digits of the known hand, then of another one: slanted, with a thick pen.
Monitoring finds the drift, which opens the review queue and retrains nothing. A reviewer labels
images. The accuracy that they measure has fallen, so a retraining begins: its release passes the
gate and the release rule, runs as the service's challenger on copies of the traffic, and is
promoted; the service follows while it answers.

Writes reports/loop/report.md, loop.json and loop.png. UserError if the service failed one request,
or if there was not exactly one retraining. Takes less than ten minutes on two cores.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.loop import report
from benchmarks.loop.chaos import LATEST, Chaos
from benchmarks.loop.hands import known_hand, other_hand
from benchmarks.loop.machines import LONGEST, Machines, wait_for
from benchmarks.loop.people import Clients, Reviewer, accuracy
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.core.workspace import Workspace
from pipeline.registry.ledger import Act, Ledger, Line
from pipeline.registry.releases import Release, Releases
from tests.checkout import Checkout

WINDOW = 200  # images
KNOWN, OTHER = 3 * WINDOW, 6 * WINDOW  # images sent in the known and in the other hand
LABELS = 400  # given by the reviewer
REQUIRED = 300  # labels that a retraining requires
SCHEDULE = 20.0  # seconds between runs of `retrain`, while servers are killed
SETTLED = 12  # seconds until monitoring counts on it that the journal is written
PARAMS: dict[str, dict[str, Any]] = {
    "collect": {"near": 0, "weight": 4},  # printed digits are much alike
    "evaluate": {"live_minimum": 30, "providers": ["CPUExecutionProvider"]},
    "gate": {"min_live_accuracy": 0.3},
    "release": {"live_margin": 0.3},
    "loop": {"labels": REQUIRED, "cooldown": 3600.0, "compared": 200, "patience": 120.0},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--keep", type=Path, help="run in this new folder, and keep it")
    parser.add_argument(
        "--approval", choices=["rule", "human"], default="rule", help="who promotes"
    )
    parser.add_argument(
        "--kill", type=int, default=0, metavar="N", help="kill servers at random moments, N times"
    )


def main(workspace: Workspace, keep: Path | None, approval: str, kill: int) -> None:
    """Tell the story and write the report. UserError if it ends differently."""
    with folder(keep) as scratch:
        story = Story(scratch, approval, kill)
        try:
            story.tell()
        finally:
            story.chaos.stop()
            story.machines.stop()
        name = "reports/loop/killed" if kill else "reports/loop"
        report.write(workspace.root / name, story.result(), story.clients.answers)
        story.check()


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """The folder of the story; a temporary one by default."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="loop-") as scratch:
        yield Path(scratch)


class Story:
    """What happens, in order."""

    def __init__(self, scratch: Path, approval: str, kill: int) -> None:
        self.project = Checkout(scratch / "project")
        self.machines = Machines(self.project, scratch)
        self.project.set_params(PARAMS)
        self.approval, self.kill = approval, kill
        self.chaos = Chaos(self.machines, kill, seed=int(time.time()))
        loop = {"approval": approval, "service": self.machines.url}
        self.project.set_params({"loop": loop})
        self.clients = Clients(self.machines.url, "mnist-cnn")
        self.reviewer = Reviewer(self.machines.url, self.machines.review_token)
        self.begun = time.monotonic()
        self.events: list[tuple[float, str]] = []
        self.figures: dict[str, Any] = {}

    def tell(self) -> None:
        """All of it."""
        self.release_first()
        self.machines.start_prefect()
        self.machines.start_service()
        self.project.set_params({"collect": {"journal": "journal"}})
        self.note("Prefect and the service run; the service keeps a journal")
        self.chaos.start()
        self.use_as_known()
        self.use_as_shifted()
        self.review()
        self.retrain()

    def release_first(self) -> None:
        """Train and release the first model."""
        done = self.project.run("dvc", "repro")
        if done.returncode != 0:
            raise UserError(f"`dvc repro` failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        self.note(f"release {self.champion.number} is trained, gated and released")

    def use_as_known(self) -> None:
        """Traffic as in the training set: nothing is found."""
        answers = self.clients.send(known_hand(KNOWN, seed=11))
        state = self.monitor()
        self.figures["accuracy_known_hand"] = accuracy(answers)
        self.note(
            f"{KNOWN} digits of the known hand, accuracy {accuracy(answers):.1%}; "
            f"monitoring: {state}"
        )

    def use_as_shifted(self) -> None:
        """Traffic of another hand: drift is found, and the review opens."""
        answers = self.clients.send(other_hand(OTHER, seed=12))
        self.figures["accuracy_before"] = accuracy(answers)
        self.note(f"{OTHER} digits of another hand, accuracy {accuracy(answers):.1%}")
        state = self.monitor()
        self.wait_for("the review", lambda: self.lines(Act.REVIEW))
        self.note(f"monitoring: {state}; the ledger asks for a review, nothing is retrained")

    def review(self) -> None:
        """A person labels what the queue names."""
        waiting = self.reviewer.waiting()
        self.figures["waiting"] = waiting
        queue = ", ".join(f"{count} {reason}" for reason, count in waiting.items() if count)
        count = self.reviewer.label(self.clients.truth, LABELS)
        self.figures["labels"] = count
        self.note(f"the review queue has {queue}; a reviewer labels {count} images")

    def retrain(self) -> None:
        """Monitoring sends its events; the rest follows, under traffic."""
        with self.clients.sending(other_hand(OTHER, seed=13)):
            state = self.monitor()
            self.note(f"monitoring: {state}")
            self.wait_for("a retraining", lambda: self.lines(Act.RETRAIN))
            self.note(f"a retraining begins: {self.lines(Act.RETRAIN)[0].reason}")
            self.wait_for("the trial", lambda: self.lines(Act.TRIAL) or self.lines(Act.END))
            if trial := self.lines(Act.TRIAL):
                self.note(f"release {trial[0].release} is on trial: {trial[0].reason}")
            if self.approval == "human" and trial:
                self.wait_for("the question to a person", self.machines.approve)
                self.note("a person approves the release")
            self.wait_for("the end of the retraining", lambda: self.lines(Act.END))
            self.note(f"{self.lines(Act.END)[0].reason}")
            version = self.champion.version
            wait_for("the swap", lambda: self.clients.answers[-1].version == version, 30)
            self.note(f"the service answers with version {version}")
        answers = self.clients.send(other_hand(OTHER, seed=14))
        self.figures["accuracy_after"] = accuracy(answers)
        again = accuracy(self.clients.send(known_hand(KNOWN, seed=15)))
        self.figures["accuracy_known_hand_after"] = again
        self.note(
            f"new digits of the other hand, accuracy {accuracy(answers):.1%}; of the known hand, "
            f"{again:.1%}"
        )

    def monitor(self) -> str:
        """Run the deployment `monitor` once the journal is written; what it says."""
        time.sleep(SETTLED)
        state = self.machines.run_monitor(journal="journal", window=WINDOW, enough_labels=REQUIRED)
        if state["type"] != "COMPLETED":
            raise UserError(f"monitor: {state['message']}")
        return f"{state['name']}, {state['message']}"

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for what `retrain` does; while servers are killed, also run it on a schedule."""
        asked = time.monotonic()

        def check() -> object:
            nonlocal asked
            if self.kill and time.monotonic() > asked + SCHEDULE:
                asked = time.monotonic()
                self.machines.submit("retrain/retrain")
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
            "seconds": round(time.monotonic() - self.begun),
            "events": [{"seconds": round(at), "text": text} for at, text in self.events],
            **self.figures,
            "requests": len(self.clients.answers),
            "errors": len(self.clients.errors),
            "first_error": next(iter(self.clients.errors), None),
            "killed": self.chaos.killed,
            "retrainings": len(self.lines(Act.RETRAIN)),
            "collected": read_json(collected) if collected.exists() else None,
            "ledger": [
                {"act": line.act, "release": line.release, "reason": line.reason}
                for line in self.ledger
            ],
        }

    def check(self) -> None:
        """UserError unless the story ended as it should."""
        if self.clients.errors and not self.kill:
            raise UserError(
                f"the service failed {len(self.clients.errors)} requests, first: "
                f"{self.clients.errors[0]}"
            )
        registered = len(self.lines(Act.REGISTER))
        if (len(self.lines(Act.RETRAIN)), registered, self.champion.number) != (1, 2, 2):
            raise UserError(
                f"no retraining, or several; the champion is release {self.champion.number}"
            )
