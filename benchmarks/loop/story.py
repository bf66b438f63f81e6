"""python -m benchmarks loop: the whole loop on this machine, with real servers.

In a temporary folder, the small digit set gives a first release. A service with two processes
serves it and keeps a journal; Prefect's server and worker have the deployments `monitor` and
`retrain`. Clients send digits of the known hand, then of another one: slanted, with a thick pen.
Monitoring finds the drift, which opens the review queue and retrains nothing. A reviewer labels
images. The accuracy that they measure has fallen, so a retraining begins: its release passes the
gate and the release rule, runs as the service's challenger on copies of the traffic, and is
promoted; the service follows while it answers.

With `--shift letters` or `noise`, clients send what is no digit. The reviewer says so, and nothing
is retrained. With `--kill`, servers and flow runs are killed meanwhile.

Writes report.md, loop.json and loop.png to reports/loop, or to a folder in it. UserError if the
service failed one request, although nothing was killed, or if the story ends differently. Takes
four minutes on two idle cores.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loop import ending, report
from benchmarks.loop.machines import wait_for
from benchmarks.loop.people import accuracy
from benchmarks.loop.setting import WINDOW, Setting
from benchmarks.loop.shifts import SHIFTS, known_hand
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.registry.ledger import Act

KNOWN, SHIFTED = 3 * WINDOW, 6 * WINDOW  # images sent before and after the shift
LABELS = 400  # given by the reviewer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--keep", type=Path, help="run in this new folder, and keep it")
    parser.add_argument(
        "--approval", choices=["rule", "human"], default="rule", help="who promotes"
    )
    parser.add_argument(
        "--shift", choices=[*SHIFTS], default="hand", help="what clients send in the end"
    )
    parser.add_argument(
        "--kill",
        type=int,
        default=0,
        metavar="N",
        help="kill servers and flow runs at random moments, N times",
    )
    parser.add_argument("--seed", type=int, help="of the order and the times of the kills")


def main(
    workspace: Workspace, keep: Path | None, approval: str, shift: str, kill: int, seed: int | None
) -> None:
    """Tell the story and write the report. UserError if it ends differently."""
    with folder(keep) as scratch:
        seed = int(time.time()) if seed is None else seed
        setting = Setting(scratch, approval, shift, kill, seed)
        try:
            tell(setting)
        finally:
            setting.chaos.stop()
            setting.machines.stop()
        parts = [shift] * (shift != "hand") + ["killed"] * (kill > 0)
        place = workspace.root.joinpath("reports/loop", *parts)
        found = ending.look(setting.project.files, setting.project.path / "journal")
        setting.figures["ending"] = found._asdict()
        report.write(place, setting.result(), setting.clients.answers)
        if setting.clients.errors and not kill:
            raise UserError(
                f"the service failed {len(setting.clients.errors)} requests, first: "
                f"{setting.clients.errors[0]}"
            )
        ending.check(found, shift)


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """The folder of the story; a temporary one by default."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="loop-") as scratch:
        yield Path(scratch)


def tell(setting: Setting) -> None:
    """All of it."""
    with ThreadPoolExecutor(1) as thread:
        prefect = thread.submit(setting.machines.start_prefect)
        release_first(setting)
        prefect.result()
    setting.machines.start_service()
    setting.project.set_params({"collect": {"journal": "journal"}})
    setting.note("Prefect and the service run; the service keeps a journal")
    if setting.kill:
        setting.note(
            f"{setting.kill} kills of servers and flow runs follow, with seed {setting.seed}"
        )
    setting.chaos.start()
    use_as_known(setting)
    use_as_shifted(setting)
    review(setting)
    with setting.clients.sending(SHIFTS[setting.shift](SHIFTED, 13)):
        setting.note(f"monitoring: {setting.monitor()}")
        if setting.shift == "hand":
            retrain(setting)
        else:
            retrain_nothing(setting)
    use_again(setting)


def release_first(setting: Setting) -> None:
    """Train and release the first model."""
    done = setting.project.run("dvc", "repro", "release")
    if done.returncode != 0:
        raise UserError(f"`dvc repro` failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    setting.note(f"release {setting.champion.number} is trained, gated and released")


def use_as_known(setting: Setting) -> None:
    """Traffic as in the training set: nothing is found."""
    answers = setting.send(known_hand(KNOWN, 11))
    state = setting.monitor()
    setting.figures["accuracy_known_hand"] = accuracy(answers)
    setting.note(
        f"{KNOWN} digits of the known hand, accuracy {accuracy(answers):.1%}; monitoring: {state}"
    )


def use_as_shifted(setting: Setting) -> None:
    """Traffic of another kind: drift is found, and the review opens."""
    answers = setting.send(SHIFTS[setting.shift](SHIFTED, 12))
    if setting.shift == "hand":
        setting.figures["accuracy_before"] = accuracy(answers)
        setting.note(f"{SHIFTED} digits of another hand, accuracy {accuracy(answers):.1%}")
    else:
        setting.note(f"{SHIFTED} images of {setting.shift}, which show no digit")
    state = setting.monitor()
    setting.wait_for("the review", lambda: setting.lines(Act.REVIEW))
    setting.note(f"monitoring: {state}; the ledger asks for a review, nothing is retrained")


def review(setting: Setting) -> None:
    """A person labels what the queue names."""
    waiting = setting.reviewer.waiting()
    setting.figures["waiting"] = waiting
    queue = ", ".join(f"{count} {reason}" for reason, count in waiting.items() if count)
    count = setting.reviewer.label(setting.clients.truth, LABELS)
    setting.figures["labels"] = count
    setting.note(f"the review queue has {queue}; a reviewer labels {count} images")


def retrain(setting: Setting) -> None:
    """The events of monitoring start a retraining, which ends in a new release."""
    setting.wait_for("a retraining", lambda: setting.lines(Act.RETRAIN))
    setting.note(f"a retraining begins: {setting.lines(Act.RETRAIN)[0].reason}")
    setting.wait_for("the trial", lambda: setting.lines(Act.TRIAL) or setting.lines(Act.END))
    if trial := setting.lines(Act.TRIAL):
        setting.note(f"release {trial[0].release} is on trial: {trial[0].reason}")
    if setting.approval == "human" and trial:
        setting.wait_for("the question to a person", setting.machines.approve)
        setting.note("a person approves the release")
    setting.wait_for("the end of the retraining", lambda: setting.lines(Act.END))
    setting.note(f"{setting.lines(Act.END)[0].reason}")
    version = setting.champion.version
    wait_for("the swap", lambda: setting.clients.answers[-1].version == version)
    setting.note(f"the service answers with version {version}")


def retrain_nothing(setting: Setting) -> None:
    """The deployment finds no reason to retrain."""
    state = setting.machines.run("retrain/retrain")
    setting.note(f"retrain: {state['name']}, {state['message']}")


def use_again(setting: Setting) -> None:
    """New traffic, after all of it."""
    if setting.shift == "hand":
        after = accuracy(setting.send(SHIFTS[setting.shift](SHIFTED, 14)))
        setting.figures["accuracy_after"] = after
        setting.note(f"new digits of the other hand, accuracy {after:.1%}")
    again = accuracy(setting.send(known_hand(KNOWN, 15)))
    setting.figures["accuracy_known_hand_after"] = again
    setting.note(f"new digits of the known hand, accuracy {again:.1%}")
