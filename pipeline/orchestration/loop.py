"""Retraining as a Prefect flow: from labelled images to a release that the service runs.

The deployment `retrain` in prefect.yaml runs it on each event of the flow `monitor`. A run does
what is next, by the ledger: it opens the review, begins a retraining, or continues one.
"""

import time
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipeline.config import Loop, load_params
from pipeline.core.errors import UserError
from pipeline.core.release_report import PROMOTED
from pipeline.core.workspace import Workspace
from pipeline.monitoring import monitor as watching
from pipeline.monitoring.state import State as Watched
from pipeline.monitoring.state import state_file
from pipeline.orchestration import retraining, trials
from pipeline.orchestration.flow import RELEASE, bring_up_to_date
from pipeline.orchestration.process import prepare
from pipeline.orchestration.settings import RETRAIN
from pipeline.registry import acts
from pipeline.registry.ledger import Act, Ledger, Line
from pipeline.registry.releases import Releases
from pipeline.registry.retrainings import unfinished
from pipeline.tracking import background

WAITING, REVIEW, PROMOTED_NOW, ENDED = "Waiting", "Review", "Promoted", "Ended"  # final states
COLLECT = "collect"  # the stage that reads the journal, which DVC does not watch
POLL = 2.0  # seconds between looks at a trial
HEARD = 10.0  # seconds until Prefect has processed a run's first heartbeat
OPEN = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"]  # states of a run that has not ended


class Approval(RunInput):
    """What Prefect's page asks a person: whether to promote the release."""

    promote: bool
    reason: str = "approved in Prefect"


@flow(name=RETRAIN)
def retrain(folder: str | None = None) -> State[Any]:
    """Do what is next: open the review, begin a retraining, or continue the one that has begun.

    Args:
        folder: the workspace; by default the one that contains the current folder
    """
    try:
        workspace = prepare(folder)
        return advance(workspace)
    except UserError as error:
        return Failed(message=str(error))


def advance(workspace: Workspace) -> State[Any]:
    """Take all steps that can be taken now, unless another run does; returns the final state."""
    workspace.retraining_lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.retraining_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return Completed(name=WAITING, message="another run does what is next")
    try:
        return take_steps(workspace)
    finally:
        lock.release()


def take_steps(workspace: Workspace) -> State[Any]:
    """The same, without a look at other runs."""
    rules, logger = load_params(workspace.params).loop, get_run_logger()
    current = unfinished(Ledger(workspace.ledger).read())
    if current is None:
        state = begin(workspace, rules)
        if state is not None:
            return state
        current = unfinished(Ledger(workspace.ledger).read())
        assert current is not None
    if current.trial is None:
        trained = bring_up_to_date(
            workspace, [RELEASE], force=False, set_params=[], forced=[COLLECT], hold=True
        )
        line = current.registration(Ledger(workspace.ledger).read())
        if line is None:
            if trained.is_failed() and trained.name == "Failed":  # it may succeed the next time
                return Failed(message=trained.message)
            return end(workspace, trained.message or "there is nothing new to train on")
        if line.verdict not in PROMOTED:
            return end(workspace, f"release {line.release} is {line.verdict}: {line.reason}")
        logger.info("release %s is on trial", line.release)
        record(workspace, Act.TRIAL, release=line.release, sha256=line.sha256, reason=line.reason)
        return await_decision(workspace, rules, line)
    return await_decision(workspace, rules, current.trial)


def begin(workspace: Workspace, rules: Loop) -> State[Any] | None:
    """Begin a retraining if there is reason; else the final state of the run."""
    file = state_file(workspace.root / watching.FOLDER)
    if not file.exists():
        return Completed(name=WAITING, message="`monitor` has found nothing yet")
    watched, lines = Watched.read(file), Ledger(workspace.ledger).read()
    champion = Releases.of(workspace).champion()
    if champion is None or champion.sha256 != watched.model_sha256:
        return Completed(name=WAITING, message="`monitor` has seen nothing of the champion yet")
    decision = retraining.decide(watched, lines, rules, datetime.now(UTC))
    if decision.retrain:
        if load_params(workspace.params).collect.journal is None:
            raise UserError(
                f"collect.journal in {workspace.params} names no journal: without it, there is "
                "nothing new to train on"
            )
        record(
            workspace,
            Act.RETRAIN,
            sha256=watched.model_sha256,
            reason=decision.reason,
            labels=watched.labels,
        )
        get_run_logger().info("retraining: %s", decision.reason)
        return None
    if (event := retraining.to_review(watched, lines)) is not None:
        record(
            workspace, Act.REVIEW, sha256=watched.model_sha256, reason=event.message, event=event.id
        )
        message = f"{event.message}: look at them on the page /review of the service"
        get_run_logger().warning(message)
        return Completed(name=REVIEW, message=message)
    return Completed(name=WAITING, message=decision.reason)


def await_decision(workspace: Workspace, rules: Loop, trial: Line) -> State[Any]:
    """Wait for the trial, then for a person if the rule leaves it to one; promote, or end."""
    release, deadline = trial.release, time.monotonic() + rules.patience
    assert release is not None
    releases = Releases.of(workspace)
    champion = releases.champion()
    if champion is not None and champion.number == release:  # a killed run promoted it, or a person
        return end(workspace, f"release {release} is the champion", name=PROMOTED_NOW)
    if release not in releases.all:
        return end(workspace, f"release {release} is not promoted: its folder is missing")
    text = "it had no trial, because loop.service is null"
    if rules.service is not None:
        while (outcome := trials.look(releases.all[release].version, rules)).state == "waiting":
            if time.monotonic() > deadline:
                return Completed(name=WAITING, message=f"release {release}: {outcome.text}")
            time.sleep(POLL)
        if outcome.state == "failed":
            return end(workspace, f"release {release} is not promoted: {outcome.text}")
        text = outcome.text
    if (
        rules.approval == "rule"
        and rules.service is not None
        and not _was_overtaken(workspace, release)
    ):
        return promote(workspace, release, f"its trial passed: {text}")
    question = f"release-{release}-{trial.sha256}"
    if (other := asked(question)) is not None:
        return Completed(name=WAITING, message=f"the run {other!r} asks for approval: {text}")
    time.sleep(HEARD)  # if a heartbeat comes after the suspension, the run counts as lost
    # this ends the process; once a person has answered, the run starts again, and gets here
    answer = suspend_flow_run(wait_for_input=Approval, key=question)
    if answer.promote:
        return promote(workspace, release, f"{answer.reason}; {text}")
    return end(workspace, f"release {release} is not promoted: {answer.reason}")


def asked(question: str) -> str | None:
    """The name of another run that asks a person this, or has the answer; None if none does."""
    unfinished_runs = FlowRunFilter.model_validate({"state": {"type": {"any_": OPEN}}})
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=unfinished_runs)
    for run in runs:
        if str(run.id) != flow_run.id and question in (run.empirical_policy.pause_keys or ()):
            return str(run.name)
    return None


def promote(workspace: Workspace, release: int, reason: str) -> State[Any]:
    """Make the release the champion, which the service follows, and end the retraining."""
    with workspace.lock(f"flow run {flow_run.name!r}", get_run_logger().warning):
        acts.promote(workspace, release, reason)
    background.synchronise_later(workspace)
    return end(workspace, f"release {release} is the champion: {reason}", name=PROMOTED_NOW)


def end(workspace: Workspace, reason: str, name: str = ENDED) -> State[Any]:
    """End the retraining; returns the final state of the run."""
    record(workspace, Act.END, reason=reason)
    return Completed(name=name, message=reason)


def record(workspace: Workspace, act: Act, **facts: Any) -> None:
    """Add a line to the ledger, under the workspace's lock."""
    with workspace.lock(f"flow run {flow_run.name!r}", get_run_logger().warning):
        Ledger(workspace.ledger).append(act, **facts)


def _was_overtaken(workspace: Workspace, release: int) -> bool:
    """Whether only a person may promote the release.

    That is so after a rollback, and if another champion was chosen after the release was judged:
    it was not compared with that one.
    """
    releases = Releases.of(workspace)
    registered = releases.registration(releases.find(release))
    judged = registered.seq if registered else 0
    return releases.held() or any(move.seq > judged for move in releases.moves)
