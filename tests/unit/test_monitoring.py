"""Watching a journal: what raises an alarm, what does not, and what is said about it once."""

import re
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from safetensors.numpy import save_file
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.inference.classifier import Classifier
from pipeline.inference.providers import CPU
from pipeline.journal.folder import JournalFolder
from pipeline.monitoring import baseline as baselines
from pipeline.monitoring import metrics
from pipeline.monitoring import monitor as watching
from pipeline.monitoring.baseline import Baseline, load_baseline, make_baseline
from pipeline.monitoring.drift import TESTS, mmd, p_values
from pipeline.monitoring.labels import Label, read_labels
from pipeline.monitoring.observations import Observations
from pipeline.monitoring.quality import confidences, estimate, measure, temperature
from pipeline.monitoring.reference import make_reference
from pipeline.monitoring.report import report
from pipeline.monitoring.state import STATE, State
from pipeline.monitoring.thresholds import Thresholds, calibrate, draw_windows
from pipeline.monitoring.watch import look
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import Images
from tests.journals import START, add_votes, make_journal
from tests.monitored import add_answers

pytestmark = needs_model
SIZE, REFERENCE = 100, 1000  # images
LATER = START + timedelta(days=1)
NOW = START + timedelta(days=30)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(MODEL, provider=CPU, threads=1)


@pytest.fixture(scope="module")
def shuffled(mnist: tuple[Images, Images]) -> LabelledImages:
    """3,000 test images in random order: the halves of the test set are unlike each other."""
    order = np.random.default_rng(1).permutation(10_000)[:3000]
    return LabelledImages(mnist[0][order], mnist[1][order])


@pytest.fixture(scope="module")
def baseline(classifier: Classifier, shuffled: LabelledImages) -> Baseline:
    held_out = LabelledImages(shuffled.images[:REFERENCE], shuffled.labels[:REFERENCE])
    reference = make_reference(classifier, held_out)
    return make_baseline(classifier.sha256, reference, calibrate(reference, SIZE, 4000))


@pytest.fixture(scope="module")
def new(shuffled: LabelledImages) -> Images:
    """2,000 images that the baseline does not know."""
    return shuffled.images[REFERENCE:]


@pytest.fixture
def workspace(tmp_path: Path, shuffled: LabelledImages) -> Workspace:
    """A workspace with the released model and a calibration set."""
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    workspace = Workspace(tmp_path)
    workspace.models.mkdir()
    shutil.copy(MODEL, workspace.models)
    workspace.calibration_set.parent.mkdir()
    held_out = {"images": shuffled.images[:400], "labels": shuffled.labels[:400]}
    save_file(held_out, workspace.calibration_set)
    return workspace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate on few windows."""
    few = lambda reference, window: calibrate(reference, window, 1000)  # noqa: E731
    monkeypatch.setattr(baselines, "calibrate", few)


def alarms(baseline: Baseline, classifier: Classifier, images: Images) -> np.ndarray:
    """The share of 300 windows of these images in which each test raises an alarm."""
    observations = Observations.of(images, classifier.predict(images))
    windows = draw_windows(len(images), SIZE, 300)
    measured = baseline.reference.measure(observations)
    found = p_values(baseline.reference, measured, windows, baseline.thresholds.mmd_null)
    return np.asarray((found < baseline.thresholds.p_value).mean(0))


def test_windows_of_the_same_kind_of_images_hardly_raise_an_alarm(
    baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    assert alarms(baseline, classifier, new).max() < 0.01


def test_p_values_within_the_reference_are_as_frequent_as_they_say(baseline: Baseline) -> None:
    """A window of half of the reference is compared with the other half, not with all of it."""
    reference = baseline.reference
    windows = draw_windows(REFERENCE, REFERENCE // 2, 1000)
    null = mmd(reference, reference.itself, windows, own=True)
    found = p_values(reference, reference.itself, windows, null, own=True)
    shares = dict(zip(TESTS, (found <= 0.1).mean(0), strict=True))
    assert shares.pop("novelty") < 0.13  # its p-values are few, and therefore too large
    assert {name for name, share in shares.items() if not 0.03 < share < 0.13} == set()


def test_each_test_notices_its_kind_of_change(
    baseline: Baseline, classifier: Classifier, new: Images, mnist: tuple[Images, Images]
) -> None:
    digits = mnist[0][mnist[1] < 3][:600]
    changes = {
        "statistics": DISTORTIONS["noisy"](new[:600]),
        "novelty": 255 - new[:600],
        "classes": digits,
        "logits": digits,
        "mmd": digits,
    }
    assert changes.keys() == TESTS.keys()
    for name, images in changes.items():
        assert alarms(baseline, classifier, images)[list(TESTS).index(name)] > 0.9, name


@pytest.mark.parametrize("size", [49, 501])
def test_a_window_is_neither_tiny_nor_most_of_the_reference(baseline: Baseline, size: int) -> None:
    with pytest.raises(UserError, match="50 to 500"):
        calibrate(baseline.reference, size)


def test_the_temperature_makes_confidences_as_right_as_they_say() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(20_000, 3)) * 2
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)  # softmax is exactly right
    found = temperature(3 * logits, labels)
    assert found == pytest.approx(3, rel=0.05)
    right = (logits.argmax(1) == labels).mean()
    assert confidences(3 * logits, found).mean() == pytest.approx(right, abs=0.01)


def test_an_estimate_falls_only_if_it_is_significantly_lower() -> None:
    sure, unsure = estimate(np.full(500, 0.99), 0.995), estimate(np.full(500, 0.9), 0.995)
    assert sure is not None
    assert unsure is not None
    assert (sure.fell, unsure.fell) == (False, True)
    assert unsure.value == pytest.approx(0.9)
    assert unsure.low < 0.89 < 0.91 < unsure.high
    few = estimate(np.full(5, 0.9), 0.995)
    assert few is not None
    assert not few.fell
    assert estimate(np.empty(0), 0.995) is None


def test_measured_accuracy_has_an_exact_interval() -> None:
    found = measure(0, 10, 0.99)
    assert found is not None
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert found.fell
    all_right = measure(200, 200, 0.99)
    assert all_right is not None
    assert not all_right.fell
    assert measure(0, 0, 0.99) is None


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ({"user:a": "1", "user:b": "1", "reviewer:r": "7"}, Label("7", True)),
        ({"reviewer:r": "7", "reviewer:s": "7"}, Label("7", True)),
        ({"reviewer:r": "7", "reviewer:s": "1"}, None),
        ({"import:old": "3"}, Label("3", True)),
        ({"user:a": "1", "user:b": "1"}, Label("1", False)),
        ({"user:a": "1", "user:b": "2", "user:c": "1"}, Label("1", False)),
        ({"user:a": "1", "user:b": "2", "user:c": "1", "user:d": "2"}, None),
        ({"user:a": "1"}, None),
    ],
)
def test_reviewers_decide_and_most_users_have_to_agree(
    votes: dict[str, str], expected: Label | None, tmp_path: Path, new: Images
) -> None:
    (name,) = make_journal(tmp_path, new[:1], [1])
    add_votes(tmp_path, [(name, voter, label) for voter, label in votes.items()])
    assert read_labels(tmp_path, 2) == ({} if expected is None else {name: expected})


def test_drift_is_announced_once_while_it_lasts(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, new[:250])
    quiet = look(tmp_path, baseline, None, now=NOW).state
    assert (quiet.judged, quiet.waiting, quiet.drift, quiet.events) == (2, 50, False, ())
    add_answers(tmp_path, classifier, DISTORTIONS["noisy"](new), LATER)
    noisy = look(tmp_path, baseline, quiet, now=NOW).state
    assert (noisy.judged, noisy.alarms, noisy.drift) == (22, 20, True)
    assert [event.kind for event in noisy.events] == ["drift.found"]
    again = look(tmp_path, baseline, noisy, now=NOW)
    assert (again.state.judged, again.state.events, again.window) == (22, noisy.events, None)
    add_answers(tmp_path, classifier, new[:150], LATER + timedelta(days=1))
    add_answers(tmp_path, classifier, 255 - new[:100], LATER + timedelta(days=2))
    back = look(tmp_path, baseline, noisy, now=NOW).state
    assert [event.kind for event in back.events] == ["drift.found"] * 2
    assert len({event.id for event in back.events}) == 2


def test_reading_in_parts_finds_the_same_as_reading_at_once(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    state: State | None = None
    for part in range(4):
        images = new[70 * part : 70 * part + 70]
        images = images if part < 2 else DISTORTIONS["noisy"](images)
        add_answers(tmp_path, classifier, images, START + timedelta(hours=part))
        state = look(tmp_path, baseline, state, now=NOW).state
    at_once = look(tmp_path, baseline, None, now=NOW).state
    assert state is not None
    assert (state.windows, state.events) == (at_once.windows, at_once.events)
    assert at_once.judged == 2


def test_a_window_that_does_not_fill_is_judged_after_a_while(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    """In steps of 50 images, with the thresholds for so many."""
    add_answers(tmp_path, classifier, new[:40])
    patience, sizes = timedelta(minutes=60), []

    def calibrated(images: int) -> Thresholds:
        sizes.append(images)
        return replace(baseline.thresholds, window=images, p_value=1.0)

    others = replace(baseline, calibrate=calibrated)

    def found(previous: State | None, minutes: float) -> State:
        now = START + timedelta(minutes=minutes)
        return look(tmp_path, others, previous, patience=patience, now=now).state

    few = found(None, 1000)
    assert (few.judged, few.waiting) == (0, 40)
    add_answers(tmp_path, classifier, new[40:175], START + timedelta(minutes=2))
    early = found(few, 59)
    assert (early.judged, early.waiting, sizes) == (1, 75, [])
    late = found(early, 70)
    assert (late.judged, late.waiting, sizes) == (2, 25, [50])
    assert (late.last.images, late.last.threshold, late.drift) == (50, 1, True)  # type: ignore[union-attr]
    assert found(late, 1000).judged == 2


def test_windows_go_on_after_the_clock_was_set_back(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, new[:110], LATER + timedelta(days=1))
    state = look(tmp_path, baseline, None, now=NOW).state
    found = []
    for minutes, count in ((0, 0), (2, 60), (4, 50), (6, 0)):
        if count:
            start = LATER + timedelta(minutes=minutes - 1.9)
            add_answers(tmp_path, classifier, new[:count], start)
        state = look(tmp_path, baseline, state, now=LATER + timedelta(minutes=minutes)).state
        found.append((state.judged, state.waiting))
    assert found == [(1, 0), (1, 60), (2, 10), (2, 10)]


def test_entries_of_other_models_and_new_ones_do_not_count(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, new[:120], sha256=["0" * 64] * 120)
    ids = add_answers(tmp_path, classifier, new[:120], LATER)
    soon = LATER + timedelta(seconds=100)  # the last entries may still be written
    assert look(tmp_path, baseline, None, now=soon).state.judged == 0
    found = look(tmp_path, baseline, None, now=NOW).state
    assert (found.judged, found.waiting) == (1, 20)
    assert (found.windows[0].first, found.windows[0].last) == (ids[0], ids[99])
    for identifier in ids[:30]:
        JournalFolder(tmp_path).remove(identifier)
    assert look(tmp_path, baseline, None, now=NOW).state.waiting == 90


def test_another_model_starts_without_windows_but_with_the_events(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, 255 - new[:100])
    state = look(tmp_path, baseline, None, now=NOW).state
    other = replace(baseline, model_sha256="1" * 64)
    found = look(tmp_path, other, state, now=NOW).state
    assert (found.judged, found.drift, found.events) == (0, False, state.events)


def test_a_fall_on_the_reviewed_random_sample_is_announced_once(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    """Labels of users and of chosen entries do not count: they are no random sample."""
    answers = classifier.predict(new[:90])
    wrong = [str((int(number) + 1) % 10) for number in answers.classes]
    is_random = [place < 30 for place in range(90)]
    ids = add_answers(tmp_path, classifier, new[:90], random=is_random)
    add_votes(tmp_path, [(name, f"user:{who}", label) for who in "ab"
                         for name, label in zip(ids[:30], wrong[:30], strict=True)])  # fmt: skip
    add_votes(tmp_path, [(name, "reviewer:r", label)
                         for name, label in zip(ids[30:], wrong[30:], strict=True)])  # fmt: skip
    before = look(tmp_path, baseline, None, now=NOW).state
    assert (before.measured, before.events, before.labels) == (None, (), 90)
    truth = [answers.labels[place] or "not a digit" for place in range(10)]
    add_votes(tmp_path, [(ids[n], "reviewer:r", truth[n]) for n in range(10)])
    right = look(tmp_path, baseline, before, now=NOW).state
    assert right.measured is not None
    assert (right.measured.value, right.measured.images, right.fell) == (1, 10, False)
    add_votes(tmp_path, [(ids[n], "reviewer:r", wrong[n]) for n in range(10, 29)])
    after = look(tmp_path, baseline, right, now=NOW).state
    assert after.measured is not None
    assert after.measured.value == pytest.approx(10 / 29)
    assert [event.kind for event in after.events] == ["quality.fell"]
    add_votes(tmp_path, [(ids[29], "reviewer:r", wrong[29])])
    assert look(tmp_path, baseline, after, now=NOW).state.events == after.events


def test_entries_that_show_no_class_are_no_reason_to_retrain(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    """Whatever the model says to them: the reference has none, and nobody trains on them."""
    ids = add_answers(tmp_path, classifier, new[:90], random=[True] * 90)
    add_votes(tmp_path, [(name, "reviewer:r", "not a digit") for name in ids[:80]])
    labels = classifier.predict(new[80:90]).labels
    known = [(name, label) for name, label in zip(ids[80:], labels, strict=True) if label]
    add_votes(tmp_path, [(name, "reviewer:r", label) for name, label in known])
    found = look(tmp_path, baseline, None, enough_labels=40, now=NOW).state
    assert found.measured is not None
    assert (found.measured.value, found.measured.images) == (1, len(known))
    assert (found.labels, found.events) == (len(known), ())


def test_enough_labels_are_announced_each_time(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    """Those of another model do not count."""
    others = add_answers(tmp_path, classifier, new[:90], sha256=["0" * 64] * 90)
    add_votes(tmp_path, [(name, "reviewer:r", "1") for name in others])
    ids, state = add_answers(tmp_path, classifier, new[:90], LATER), None
    announced = []
    for number in range(0, 90, 15):
        add_votes(tmp_path, [(name, "reviewer:r", "1") for name in ids[number : number + 15]])
        state = look(tmp_path, baseline, state, enough_labels=40, now=NOW).state
        announced.append(sum(event.kind == "labels.enough" for event in state.events))
    assert announced == [0, 0, 1, 1, 1, 2]


def test_the_metrics_say_what_the_state_says(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, 255 - new[:220])
    state = look(tmp_path, baseline, None, now=NOW).state
    families = text_string_to_metric_families(metrics.text(state).decode())
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    assert found["monitor_drift",] == 1
    assert (found["monitor_windows_total",], found["monitor_alarms_total",]) == (2, 2)
    assert found["monitor_waiting_images",] == 20
    assert found["monitor_last_window_images",] == SIZE
    assert found["monitor_review_images", "novelty"] == state.review["novelty"] > 100
    assert found["monitor_finished_timestamp_seconds",] == NOW.timestamp()
    last = state.windows[-1]
    assert {(name,): p for name, p in last.p_values.items()} == {
        key[1:]: value for key, value in found.items() if key[0] == "monitor_p_value"
    }
    assert found["monitor_novelty", "window"] == last.novelty
    assert found["monitor_image_statistic", "reference", "ink"] == state.reference_means["ink"]


def test_the_report_needs_no_other_file_and_escapes_what_clients_send(
    tmp_path: Path, baseline: Baseline, classifier: Classifier, new: Images
) -> None:
    add_answers(tmp_path, classifier, 255 - new[:100], label=["<script>$\\frac$"] * 100)
    state, window = look(tmp_path, baseline, None, now=NOW)
    assert window is not None
    hostile = state.events[0].model_copy(update={"message": "<script>alert(1)</script>"})
    page = report(state.model_copy(update={"events": (hostile,)}), baseline, window)
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="([^":,]+)', page)) == {"data"}
    assert page.count("data:image/png;base64,") == 4


@pytest.mark.usefixtures("quick")
def test_the_baseline_is_kept_until_model_or_images_change(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = workspace.released_model

    def load() -> Baseline:
        return load_baseline(workspace, model, SIZE, tmp_path / "kept")

    first = load()
    smaller = first.thresholds_for(50)
    assert smaller.window == 50
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "calibrate", lambda *_: pytest.fail("it is kept"))
        again = load()
        assert again.thresholds.p_value == first.thresholds.p_value
        assert again.thresholds_for(50).p_value == smaller.p_value
        assert again.accuracy == first.accuracy
    (tmp_path / "kept" / baselines.FILE).write_bytes(b"damaged")
    assert load().thresholds.p_value == first.thresholds.p_value
    workspace.calibration_set.unlink()
    with pytest.raises(UserError, match=r"calibration\.safetensors is missing"):
        load()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("is_known", [True, False])
def test_images_that_the_model_may_know_cause_a_warning(
    workspace: Workspace,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    *,
    is_known: bool,
) -> None:
    """The calibration set is held out only of the training set next to it."""
    workspace.training_set.write_bytes(b"other")
    digests = {workspace.training_set: classifier.signature.data_sha256}
    if not is_known:
        monkeypatch.setattr(baselines, "sha256", lambda path: digests.get(path, "0" * 64))
    load_baseline(workspace, workspace.released_model, SIZE, tmp_path)
    warned = [record for record in caplog.records if record.name == baselines.__name__]
    assert bool(warned) is is_known


@pytest.mark.usefixtures("quick")
def test_an_interrupted_run_repeats_its_windows_and_its_events(
    workspace: Workspace,
    classifier: Classifier,
    new: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "found"
    add_answers(journal, classifier, 255 - new[:200])
    with monkeypatch.context() as patch:
        patch.setattr(State, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            watching.monitor(workspace, journal, folder, window=SIZE)
    first = watching.monitor(workspace, journal, folder, window=SIZE)
    assert (first.judged, len(first.unsent)) == (2, 1)
    watching.mark_sent(folder, [])  # what another process finds meanwhile has not been sent
    assert State.read(folder / STATE).unsent == first.unsent
    watching.mark_sent(folder, first.unsent)
    second = watching.monitor(workspace, journal, folder, window=SIZE)
    assert (second.judged, second.unsent) == (2, ())
    assert [event.id for event in second.events] == [event.id for event in first.events]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("agreeing", "labels"), [(2, 1), (3, 0)])
def test_labels_count_as_collect_counts_them(
    workspace: Workspace,
    classifier: Classifier,
    new: Images,
    tmp_path: Path,
    agreeing: int,
    labels: int,
) -> None:
    params = workspace.params.read_text(encoding="utf-8")
    assert "\n  votes: 2" in params
    changed = params.replace("\n  votes: 2", f"\n  votes: {agreeing}")
    workspace.params.write_text(changed, encoding="utf-8")
    journal = tmp_path / "journal"
    (name,) = add_answers(journal, classifier, new[:1])
    add_votes(journal, [(name, f"user:{who}", "1") for who in "ab"])
    assert watching.monitor(workspace, journal, window=SIZE).labels == labels


@pytest.fixture
def in_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


@pytest.mark.usefixtures("quick", "in_workspace")
def test_the_command_tells_by_its_status_whether_something_was_found(
    classifier: Classifier, new: Images
) -> None:
    journal = Path("journal")

    def status(*options: str) -> int:
        command = ["monitor", str(journal), "--window", str(SIZE), *options]
        return CliRunner().invoke(app, command).exit_code

    add_answers(journal, classifier, new[:20])
    assert status() == 0  # no window yet
    add_answers(journal, classifier, 255 - new[:180], LATER)
    assert status("--metrics", "monitor.prom") == 3
    assert "monitor_drift 1.0" in Path("monitor.prom").read_text()
    assert Path("reports/monitoring/report.html").exists()
