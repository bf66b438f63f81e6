"""A trial of a challenger: the sequential test, the counts, the share of requests, the queue."""

import asyncio
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.inference.session import Answer
from pipeline.service.challenger import copies, messages
from pipeline.service.challenger.copies import LENGTH, CopyQueue
from pipeline.service.challenger.link import Link, share_of
from pipeline.service.challenger.messages import MOST_IMAGES, Copy, Outcomes, outcomes_of
from pipeline.service.challenger.sequential import GAMBLERS, SequentialTest
from pipeline.service.challenger.trial import (
    LEVEL,
    SLACK,
    TESTS,
    TIMES,
    TOLERATED,
    Rules,
)
from pipeline.service.pool import ServedModel
from tests.checkout import MODEL, needs_model
from tests.digits import Images
from tests.trials import Far, linked, trials

CANARY = Rules(percent=10)
BAD = 0.2  # share of requests that a deliberately bad challenger answers differently
SOON = 120  # requests
FAST = (0.001, 0.001)  # seconds of champion and challenger


def ends(test: SequentialTest, events: np.ndarray) -> np.ndarray:
    """After how many of the events [runs, N] the test rejects in each run; 0: never."""
    log_wealth = test.log_growth(events).cumsum(1)
    rejected = np.exp(log_wealth.clip(max=50)).mean(2) >= 1 / test.level
    return np.where(rejected.any(1), rejected.argmax(1) + 1, 0)


def outcome(label: int) -> Outcomes:
    return Outcomes(np.array([label], np.int16), np.array([0], np.int16))


# the test


@pytest.mark.parametrize("test", CANARY.tests.values(), ids=TESTS)
def test_what_is_tolerated_ends_a_trial_as_rarely_as_stated(test: SequentialTest) -> None:
    events = np.random.default_rng(1).random((2000, 1500)) < test.tolerated
    assert (ends(test, events) > 0).mean() <= test.level + 0.003  # 3 standard errors
    assert sum(test.level for test in CANARY.tests.values()) == pytest.approx(LEVEL)


def test_the_level_holds_when_the_share_depends_on_what_came_before() -> None:
    """An adversary who stops misbehaving as soon as the evidence grows gains nothing."""
    test, random = CANARY.tests["disagreement"], np.random.default_rng(2)
    log_wealth = np.zeros((4000, GAMBLERS))
    rejected = np.zeros(4000, bool)
    for _ in range(400):
        ahead = np.exp(log_wealth).mean(1) > 1
        share = np.where(ahead, test.tolerated / 10, test.tolerated)
        log_wealth += test.log_growth(random.random(4000) < share)
        rejected |= np.exp(log_wealth).mean(1) >= 1 / test.level
    assert rejected.mean() <= test.level + 0.003


def test_a_bad_challenger_is_soon_found() -> None:
    events = np.random.default_rng(3).random((4000, 400)) < BAD
    found = ends(CANARY.tests["disagreement"], events)
    assert ((found > 0) & (found <= SOON)).mean() > 0.99


def test_shares_of_a_request_are_evidence_too() -> None:
    """An observation may be any number from 0 to 1."""
    test = CANARY.tests["disagreement"]
    shares = np.full(500, test.tolerated)
    assert not test.rejects(test.log_growth(shares).sum(0))
    assert test.rejects(test.log_growth(np.full(500, 4 * test.tolerated)).sum(0))


def test_the_evidence_that_ends_a_trial_is_the_mean_wealth_by_the_level() -> None:
    test = CANARY.tests["disagreement"]
    winner, losers = [math.log(GAMBLERS / test.level)], [-100.0] * (GAMBLERS - 1)
    assert test.evidence(winner + losers) == pytest.approx(1 / test.level)
    assert test.rejects([winner[0] + 0.01, *losers])
    assert not test.rejects([winner[0] - 0.01, *losers])


@pytest.mark.parametrize("tolerated", [0, -0.1, 0.31, 1])
def test_a_share_that_cannot_be_tested_is_an_error(tolerated: float) -> None:
    with pytest.raises(ValueError, match="at most"):
        SequentialTest(tolerated, 0.01)


# the trial


def test_processes_decide_together() -> None:
    """Each has seen too little to decide alone."""
    one, other = trials(2, CANARY)
    alone = trials(1, CANARY)[0]
    for number in range(60):
        if one.reason is None:
            answers = outcome(1), outcome(1 + (number % 5 == 0))
            (one, other)[number % 2].record_comparison(*answers, FAST)
            if number % 2 == 0:
                alone.record_comparison(*answers, FAST)
    assert one.reason == other.reason == "disagreement"
    assert alone.reason is None
    assert alone.total("requests") < one.total("requests") == other.total("requests") < 60


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("disagreement", lambda trial: trial.record_comparison(outcome(1), outcome(2), FAST)),
        (
            "latency",
            lambda trial: trial.record_comparison(
                outcome(1), outcome(1), (0.001, TIMES * 0.001 + 1.1 * SLACK)
            ),
        ),
        ("failures", lambda trial: trial.record_failure("error")),
    ],
)
def test_a_canary_ends_for_a_reason_but_copies_do_no_harm(reason, event) -> None:  # type: ignore[no-untyped-def]
    canary, shadow = trials(1, CANARY)[0], trials(1, Rules())[0]
    for _ in range(10):
        event(canary)
        event(shadow)
    assert canary.reason == reason
    assert canary.explain()
    assert shadow.reason is None
    assert shadow.evidence()[reason] > 1 / LEVEL


def test_the_first_reason_stays() -> None:
    one, other = trials(2, CANARY)
    one.end("crashed")
    other.end("replaced")
    assert one.reason == other.reason == "crashed"


def test_a_good_challenger_goes_on() -> None:
    (trial,) = trials(1, CANARY)
    for number in range(2000):
        trial.record_comparison(outcome(1), outcome(1 + (number % 100 == 99)), FAST)
    assert trial.reason is None
    assert trial.total("images").tolist() == [1980, 0, 20, 0]


# the share


def test_the_share_of_requests_is_the_percentage_and_depends_on_the_id_alone() -> None:
    shares = np.array([share_of(f"request-{number}") for number in range(20_000)])
    for percent in (1, 10, 50):
        assert (shares < percent / 100).mean() == pytest.approx(percent / 100, abs=0.01)
    assert share_of("one") == share_of("one") != share_of("other")
    assert share_of("\ud800") >= 0  # not text that can be encoded


# messages and the queue


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return ServedModel(Classifier(MODEL, threads=1))


@needs_model
def test_a_message_arrives_as_it_was_sent(model: ServedModel, ten: Images) -> None:
    form = model.signature.form
    predictions = model.classifier.predict(ten)
    outcomes = outcomes_of(model.signature, predictions, 10)
    sent = Copy(7, 0.25, outcomes, ten)
    found = messages.unpack_copy(messages.pack_copy(sent), form)
    assert (found.number, found.seconds) == (7, 0.25)
    np.testing.assert_array_equal(found.outcomes, sent.outcomes)
    np.testing.assert_array_equal(found.images, ten)
    answer = Answer(predictions.logits, predictions.probabilities, predictions.novelty)
    number, reply = messages.unpack_reply(messages.pack_reply(9, answer), 10)
    assert number == 9
    assert reply is not None
    for part, expected in zip(reply, answer, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert messages.unpack_reply(messages.pack_reply(9, None), 10) == (9, None)
    with pytest.raises(ValueError, match="copy"):
        messages.unpack_copy(messages.pack_copy(sent)[:-1], form)


@needs_model
def test_an_image_that_shows_no_class_is_compared_too(model: ServedModel) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1, 28, 28), np.uint8)
    predictions = model.classifier.predict(noise)
    assert predictions.labels == [None]
    outcomes = outcomes_of(model.signature, predictions, 1)
    assert outcomes.classes.tolist() == [-1]
    assert outcomes.verdicts.tolist() == [model.signature.verdicts.index(model.signature.foreign)]


def test_the_queue_is_in_order_and_bounded() -> None:
    queue = CopyQueue(copies.allocate(5))
    for start in (0, 7):  # the second time, entries are used again
        sent = [b"%d" % number for number in range(start, start + 2 * LENGTH)]
        accepted = [content for content in sent if queue.put(content)]
        assert accepted == sent[:LENGTH]
        assert [queue.take() for _ in accepted] == accepted
        assert queue.take() is None
        assert queue.put(b"")
        assert queue.take() == b""
    assert queue.put(b"12345")
    assert not queue.put(b"123456")


def test_another_challenger_starts_with_new_counts_in_all_processes() -> None:
    service, other, challenger = trials(3, Rules())
    challenger.start(2, "a" * 64)
    assert service.named == (2, "a" * 64)
    service.count("dropped")
    challenger.record_comparison(outcome(1), outcome(2), FAST)
    service.end("replaced")
    challenger.start_over()
    for each in (service, other, challenger):
        assert (each.reason, each.named, each.running) == (None, None, False)
        assert not each.total("requests")
        assert not each.total("dropped")
    challenger.start(3, "b" * 64)
    service.count("dropped")
    challenger.record_comparison(outcome(1), outcome(1), FAST)
    assert other.named == (3, "b" * 64)
    counts = [int(other.total(name)) for name in ("requests", "differ", "dropped")]
    assert counts == [1, 0, 1]


@needs_model
def test_copies_are_dropped_while_nobody_reads(model: ServedModel, ten: Images) -> None:
    many = np.repeat(ten, 10, 0)
    predictions = model.classifier.predict(many)
    with linked(model, Rules()) as (link, far):
        link.trial.start()
        for _ in range(LENGTH + 7):
            link.compare(model, many, predictions, 0.001)
        assert link.trial.total("dropped") == 7
        assert link.trial.reason is None
        np.testing.assert_array_equal(far.copy().images, many[:MOST_IMAGES])
        link.compare(model, many, predictions, 0.001)
        assert link.trial.total("dropped") == 7


@needs_model
def test_nothing_is_compared_before_the_challenger_is_loaded(
    model: ServedModel,
) -> None:
    with linked(model, CANARY) as (link, _):
        names = [str(number) for number in range(1000)]
        assert not any(link.takes(model, name) for name in names)
        link.trial.start()
        assert any(link.takes(model, name) for name in names)


@needs_model
def test_a_challenger_whose_process_has_ended_is_noticed(model: ServedModel, ten: Images) -> None:
    with linked(model, Rules()) as (link, far):
        link.trial.start()
        far.connection.close()
        link.compare(model, ten, model.classifier.predict(ten), 0.001)
        assert link.trial.reason == "crashed"


@needs_model
def test_a_trial_ends_when_another_champion_answers(
    model: ServedModel, ten: Images, tmp_path: Path
) -> None:
    shutil.copy(MODEL, tmp_path / "other.onnx")
    with (tmp_path / "other.onnx").open("ab") as file:
        file.write(b"\x12\x01x")  # the name of the producer, once more
    other = ServedModel(Classifier(tmp_path / "other.onnx", threads=1))
    with linked(model, Rules()) as (link, far):
        link.trial.start()
        link.compare(other, ten, model.classifier.predict(ten), 0.001)
        assert link.trial.reason == "replaced"
        assert far.queue.take() is None


@needs_model
def test_nobody_waits_longer_than_the_deadline(model: ServedModel, ten: Images) -> None:
    """A late reply is not taken for that of another request."""
    predictions = model.classifier.predict(ten[:1])
    parts = (predictions.logits, predictions.probabilities, predictions.novelty)
    changed = Answer(*(part + 1 for part in parts))

    async def ask(link: Link, far: Far, reply_to: int | None) -> tuple[Predictions | None, int]:
        """What is answered if the challenger sends a reply with this number; 0: the right one."""
        asked = asyncio.create_task(link.ask(ten[:1], predictions, 0.001))
        await asyncio.sleep(0)
        number = far.copy().number
        if reply_to is not None:
            far.connection.send(messages.pack_reply(reply_to or number, changed))
        return await asked, number

    async def ask_three_times(link: Link, far: Far) -> None:
        found, late = await ask(link, far, None)
        assert found is None
        assert link.trial.total("failures").tolist() == [0, 1]
        found, _ = await ask(link, far, late)
        assert found is None
        found, _ = await ask(link, far, 0)
        assert found is not None
        np.testing.assert_array_equal(found.logits, changed.logits)
        assert link.trial.total("answered") == 1

    with linked(model, Rules(percent=10, deadline=0.05)) as (link, far):
        asyncio.run(ask_three_times(link, far))


def test_the_tolerated_share_is_stated() -> None:
    assert CANARY.tests["disagreement"].tolerated == TOLERATED
