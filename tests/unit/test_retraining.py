"""A retraining begins only for a reason, is tried, and ends once, also if a run is killed."""

import json
import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from prefect.client.schemas.objects import State as RunState
from prefect.states import Completed, Failed

from pipeline.config import Loop
from pipeline.core.files import write_text
from pipeline.core.workspace import Workspace
from pipeline.monitoring.monitor import FOLDER
from pipeline.monitoring.quality import Accuracy
from pipeline.monitoring.state import DRIFT, Event, Judged, State, state_file
from pipeline.orchestration import loop, retraining, trials
from pipeline.registry import acts
from pipeline.registry.ledger import Act, Ledger, Line
from pipeline.registry.releases import Releases
from pipeline.tracking import background
from tests.checkout import PROJECT
from tests.releases import make_release

TIME = "2026-11-01T00:00:00+00:00"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
RULES = Loop(
    approval="rule", labels=100, cooldown=3600, service="http://s", compared=50, patience=0.01
)
VERSION = "0123456789ab"
STATUS: dict[str, Any] = {
    "version": VERSION,
    "state": "shadow",
    "requests": 50,
    "differ": 20,
    "explanation": None,
    "evidence": {"disagreement": 1e9, "latency": 0.1, "failures": 0.1},
}


def accuracy(*, fell: bool) -> Accuracy:
    return Accuracy(images=60, value=0.7, low=0.6, high=0.8, fell=fell)


def watched(
    sha256: str = "a" * 64, *, labels: int = 100, fell: bool = True, drift: bool = True
) -> State:
    """What watching has found."""
    window = Judged(
        first="1", last="2", time=TIME, images=100, threshold=0.001,
        p_values={"mean": 0.0}, alarm=drift, distances={}, means={}, classes={}, novelty=0.0,
        estimated=None,
    )  # fmt: skip
    return State(
        model="mnist-cnn",
        model_sha256=sha256,
        window=100,
        reference_images=1000,
        reference_accuracy=0.99,
        reference_means={},
        reference_classes={},
        reference_novelty=0.0,
        threshold=0.001,
        windows=(window,),
        measured=accuracy(fell=fell),
        labels=labels,
        finished=TIME,
        events=(Event(id="drift-1", kind=DRIFT, time=TIME, message="the input has changed"),),
    )


def line(act: Act, **facts: Any) -> Line:
    return Line(seq=1, time=TIME, actor="test", act=act, **facts)


def test_labels_and_a_fall_together_are_a_reason() -> None:
    assert retraining.decide(watched(), [], RULES, NOW).retrain


@pytest.mark.parametrize("state", [watched(labels=99), watched(fell=False)])
def test_drift_with_too_few_labels_or_without_a_fall_is_none(state: State) -> None:
    assert state.drift
    assert not retraining.decide(state, [], RULES, NOW).retrain


@pytest.mark.parametrize(("sha256", "labels"), [("a" * 64, 50), ("b" * 64, 100)])
def test_only_labels_that_no_retraining_has_had_are_new(sha256: str, labels: int) -> None:
    before = [line(Act.RETRAIN, sha256=sha256, labels=labels)]
    state = watched("a" * 64, labels=140)
    assert retraining.decide(state, before, RULES, NOW).retrain == (sha256 != "a" * 64)


def test_retrainings_begin_at_intervals() -> None:
    before = [line(Act.RETRAIN, sha256="b" * 64, labels=100)]
    begun = datetime.fromisoformat(TIME)
    for seconds in (3599, 3601):
        now = begun + timedelta(seconds=seconds)
        assert retraining.decide(watched(), before, RULES, now).retrain == (seconds > 3600)


def test_a_drift_is_reviewed_once() -> None:
    event = retraining.to_review(watched(), [])
    assert event is not None
    assert retraining.to_review(watched(), [line(Act.REVIEW, event=event.id)]) is None
    assert retraining.to_review(watched(drift=False), []) is None


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "passed"),
        ({"requests": 49}, "waiting"),
        ({"version": "0" * 12}, "waiting"),
        ({"version": None}, "waiting"),
        ({"state": "starting"}, "waiting"),
        ({"state": "ended", "explanation": "its process ended"}, "failed"),
        ({"evidence": {"latency": 300, "failures": 0}}, "failed"),
        ({"evidence": {"latency": 0, "failures": 300}}, "failed"),
    ],
)
def test_a_trial_passes_if_the_release_is_as_fast_and_reliable(
    changes: dict[str, Any], state: str
) -> None:
    assert trials.judge(VERSION, STATUS | changes, 50).state == state


class Run:
    """Runs the flow in a workspace in which the DAG registers a second release."""

    def __init__(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace, self.trainings, self.answer = workspace, 0, dict(STATUS)
        self.verdict, self.approved = "better", True
        self.asks: str | None = None  # the run that waits for a person
        set_ = monkeypatch.setattr
        set_(loop, "get_run_logger", lambda: logging.getLogger("test"))
        set_(loop, "bring_up_to_date", self.train)
        set_(loop, "suspend_flow_run", self.ask)
        set_(loop, "asked", lambda _: self.asks)
        set_(loop, "POLL", 0.001)
        set_(loop, "HEARD", 0)
        set_(trials, "look", self.look)
        set_(background, "synchronise_later", lambda _: None)

    def train(self, workspace: Workspace, *_: Any, hold: bool, **__: Any) -> RunState[Any]:
        assert hold
        self.trainings += 1
        if len(Releases.of(workspace).all) < 2:
            make_release(workspace, 1, promoted=False, verdict=self.verdict)
        return Completed()

    def look(self, version: str, _: Loop) -> trials.Outcome:
        assert version == Releases.of(self.workspace).all[2].version
        return trials.judge(VERSION, self.answer, 50)

    def ask(self, **_: Any) -> loop.Approval:
        return loop.Approval(promote=self.approved, reason="as a test says")

    def advance(self) -> str | None:
        return loop.advance(self.workspace).name

    @property
    def acts(self) -> list[str]:
        return [line.act.value for line in Ledger(self.workspace.ledger).read()[2:]]

    @property
    def champion(self) -> int | None:
        found = Releases.of(self.workspace).champion()
        return found.number if found else None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    workspace = Workspace(tmp_path)
    set_params(workspace, approval="rule", service="http://s", journal="journal")
    sha256 = make_release(workspace).sha256
    folder = workspace.root / FOLDER
    folder.mkdir(parents=True)
    watched(sha256, labels=300, drift=False).write(state_file(folder))
    return Run(workspace, monkeypatch)


def set_params(workspace: Workspace, **values: str) -> None:
    text = (PROJECT / "params.yaml").read_text()
    for name, value in (values | {"patience": "0.01"}).items():
        before, found, after = text.partition(f"\n  {name}: ")
        assert found
        text = f"{before}{found}{value} #{after}"
    write_text(workspace.params, text)


def test_a_retrained_release_is_tried_and_promoted(run: Run) -> None:
    assert run.advance() == loop.PROMOTED_NOW
    assert run.acts == ["retrain", "register", "trial", "promote", "end"]
    assert run.champion == 2
    assert run.advance() == loop.WAITING  # monitoring knows nothing of the new champion
    assert run.trainings == 1


def test_a_run_waits_for_the_trial_and_the_next_one_continues(run: Run) -> None:
    run.answer["requests"] = 1
    assert [run.advance(), run.advance()] == [loop.WAITING, loop.WAITING]
    run.answer["requests"] = 50
    assert run.advance() == loop.PROMOTED_NOW
    assert run.trainings == 1


def test_a_release_that_fails_its_trial_is_not_promoted(run: Run) -> None:
    run.answer["evidence"] = {"latency": 1000, "failures": 0}
    assert run.advance() == loop.ENDED
    assert run.champion == 1
    assert run.advance() == loop.WAITING  # for new labels
    assert run.trainings == 1


@pytest.mark.parametrize("approved", [True, False])
def test_a_person_decides_if_params_say_so(run: Run, *, approved: bool) -> None:
    set_params(run.workspace, approval="human", service="http://s", journal="journal")
    run.approved = approved
    assert run.advance() == (loop.PROMOTED_NOW if approved else loop.ENDED)
    assert run.champion == (2 if approved else 1)


def test_a_person_is_asked_once(run: Run) -> None:
    set_params(run.workspace, approval="human", service="http://s", journal="journal")
    run.asks = "another run"
    assert run.advance() == loop.WAITING
    assert run.champion == 1
    run.asks = None
    assert run.advance() == loop.PROMOTED_NOW


def test_without_a_service_only_a_person_promotes(run: Run) -> None:
    set_params(run.workspace, approval="rule", journal="journal")
    run.approved = False
    assert run.advance() == loop.ENDED
    assert run.champion == 1


def test_after_a_rollback_only_a_person_promotes(run: Run) -> None:
    make_release(run.workspace, 1, promoted=True)
    acts.rollback(run.workspace, 1)
    run.train = lambda *_, **__: Completed()  # type: ignore[method-assign]
    run.approved = False
    loop.record(run.workspace, Act.RETRAIN)
    loop.record(run.workspace, Act.TRIAL, release=2)
    assert run.advance() == loop.ENDED
    assert run.champion == 1


@pytest.mark.parametrize("back", [True, False])
def test_only_a_person_promotes_over_a_champion_that_was_chosen_meanwhile(
    run: Run, *, back: bool
) -> None:
    """The release was compared with the champion before: that one may be the champion again."""
    run.answer["requests"] = 1
    assert run.advance() == loop.WAITING
    make_release(run.workspace, 2, promoted=True)
    if back:
        acts.promote(run.workspace, 1, "it was better")
    run.answer["requests"], run.approved = 50, False
    assert run.advance() == loop.ENDED
    assert run.champion == (1 if back else 3)


def test_a_release_that_is_gone_ends_its_retraining(run: Run) -> None:
    run.answer["requests"] = 1
    assert run.advance() == loop.WAITING
    shutil.rmtree(Releases.of(run.workspace).all[2].folder)
    run.answer["requests"] = 50
    assert run.advance() == loop.ENDED
    assert run.champion == 1


def test_of_two_runs_at_once_one_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*positional: Any, **named: Any) -> RunState[Any]:
        assert run.advance() == loop.WAITING
        return run.train(*positional, **named)

    monkeypatch.setattr(loop, "bring_up_to_date", train)
    assert run.advance() == loop.PROMOTED_NOW
    assert run.trainings == 1
    assert run.acts == ["retrain", "register", "trial", "promote", "end"]


@pytest.mark.parametrize("answer", [[], {"release": 2}, None, "digits"])
def test_a_service_of_another_kind_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    response = requests.Response()
    response.status_code, response._content = 200, json.dumps(answer).encode()
    monkeypatch.setattr(requests, "get", lambda *_, **__: response)
    assert trials.look(VERSION, RULES).state == "waiting"


def test_an_undecided_release_gets_no_trial(run: Run) -> None:
    run.verdict = "undecided"
    assert run.advance() == loop.ENDED
    assert run.acts == ["retrain", "register", "end"]


@pytest.mark.parametrize(("name", "ends"), [("Refused", True), ("Failed", False)])
def test_a_refusal_ends_a_retraining_and_a_failure_does_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, *, ends: bool
) -> None:
    state: RunState[Any] = Failed(name=name, message="the gate")
    monkeypatch.setattr(loop, "bring_up_to_date", lambda *_, **__: state)
    assert run.advance() == (loop.ENDED if ends else "Failed")
    assert run.acts == (["retrain", "end"] if ends else ["retrain"])


def test_drift_without_labels_opens_the_review_once_and_trains_nothing(run: Run) -> None:
    folder = run.workspace.root / FOLDER
    sha256 = Releases.of(run.workspace).find(1).sha256
    watched(sha256, labels=0).write(state_file(folder))
    assert [run.advance(), run.advance()] == [loop.REVIEW, loop.WAITING]
    assert run.acts == ["review"]
    assert run.trainings == 0


class KilledError(BaseException):
    """Stands for SIGKILL."""


def dies_at(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, until it is called for the time `number`: then the run is killed after it."""
    calls = iter(range(1, 10_000))

    def called(*positional: Any, **named: Any) -> Any:
        result = function(*positional, **named)
        if next(calls) == number:
            raise KilledError
        return result

    return called


@pytest.mark.parametrize(
    ("place", "number"),
    [("record", 1), ("train", 1), ("record", 2), ("promote", 1), ("record", 3)],
)
def test_a_run_that_is_killed_is_continued(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    targets: dict[str, tuple[Any, str]] = {
        "record": (loop, "record"),
        "train": (loop, "bring_up_to_date"),
        "promote": (acts, "promote"),
    }
    target, name = targets[place]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, dies_at(number, getattr(target, name)))
        with pytest.raises(KilledError):
            run.advance()
    run.advance()
    assert run.acts == ["retrain", "register", "trial", "promote", "end"]
    assert run.champion == 2
