"""The stage `collect`: a journal with votes becomes images to train on and a live test set."""

import csv
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline.collection.candidates import Reason
from pipeline.collection.known import KnownImages
from pipeline.collection.mixing import training_images
from pipeline.config import Collect
from pipeline.core.collect_report import CollectReport
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.core.task import ImageForm
from pipeline.core.workspace import Workspace
from pipeline.journal.folder import JournalFolder
from pipeline.journal.ids import is_random, uuid7
from pipeline.mnist import TASK
from pipeline.stages import collect
from pipeline.stages.collect import share_of
from tests.digits import make_digits
from tests.journals import START, Vote, add_votes, make_journal
from tests.unit.test_collection import strokes

COUNT = 60
PARAMS = Collect(journal="journal", votes=2, cap_per_client=100, near=24, live_share=0.2, weight=3)
OUTPUTS = ("feedback", "live_set", "collect_report", "collected", "collect_figure")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the three sets, as `prepare` writes them."""
    workspace = Workspace(tmp_path)
    workspace.training_set.parent.mkdir()
    for path, seed in (
        (workspace.training_set, 1),
        (workspace.calibration_set, 2),
        (workspace.test_set, 3),
    ):
        images, labels = make_digits(20, seed)
        save_file({"images": images, "labels": labels}, path)
    KnownImages.of(load_file(workspace.test_set)["images"]).write(workspace.test_hashes)
    return workspace


def run(workspace: Workspace, **changes: Any) -> CollectReport:
    collect.run(workspace, PARAMS.model_copy(update=changes), TASK)
    return CollectReport.read(workspace.collect_report)


def outputs(workspace: Workspace) -> dict[str, bytes]:
    return {name: getattr(workspace, name).read_bytes() for name in OUTPUTS}


def fill(workspace: Workspace, *, planted: bool = False) -> tuple[list[str], np.ndarray]:
    """Write a journal of COUNT images with two agreeing votes each; their ids and labels.

    `planted`: the first is a test image.
    """
    images, labels = strokes(COUNT, 1), np.arange(COUNT) % 10
    if planted:
        images[0] = load_file(workspace.test_set)["images"][0]
    votes: list[Vote] = [(n, f"user:{who}", str(labels[n])) for n in range(COUNT) for who in "ab"]
    return make_journal(workspace.root / "journal", images, labels, votes), labels


def fates(workspace: Workspace) -> dict[str, str]:
    with workspace.collected.open() as file:
        return {row["id"]: row["fate"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("journal", [None, "empty"])
def test_nothing_is_collected_without_a_journal_or_votes(
    workspace: Workspace, journal: str | None
) -> None:
    JournalFolder.create(workspace.root / "empty")
    report = run(workspace, journal=journal)
    assert (report.images, sum(report.training.values()), sum(report.live.values())) == (0, 0, 0)
    for path, names in (
        (workspace.feedback, {"images", "labels", "weights"}),
        (workspace.live_set, {"images", "labels"}),
    ):
        content = load_file(path)
        assert content.keys() == names
        assert content["images"].shape == (0, 28, 28)
    alone = training_images(workspace.training_set, workspace.root / "missing")
    mixed = training_images(workspace.training_set, workspace.feedback)
    for one, other in zip(alone, mixed, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_voted_images_are_split_by_their_ids(workspace: Workspace) -> None:
    ids, labels = fill(workspace)
    make_journal(workspace.root / "journal", strokes(5, 9), [1] * 5)  # without votes
    report = run(workspace)
    feedback, live = load_file(workspace.feedback), load_file(workspace.live_set)
    assert report.images == len(feedback["labels"]) + len(live["labels"]) == COUNT
    tested = {i for i in ids if share_of(i) < PARAMS.live_share}
    found = fates(workspace)
    assert {i for i in ids if found[i] == collect.LIVE} == tested
    assert {i for i in ids if found[i] == collect.TRAINING} == {*ids} - tested
    assert [labels[n] for n, i in enumerate(ids) if i in tested] == live["labels"].tolist()
    assert feedback["weights"].tolist() == [PARAMS.weight] * len(feedback["labels"])
    assert report.feedback_sha256 == sha256(workspace.feedback)
    assert report.live_sha256 == sha256(workspace.live_set)
    assert sum(report.refused.values()) == 0


def test_the_live_test_set_is_independent_of_the_random_sample() -> None:
    ids = [uuid7() for _ in range(4000)]
    drawn = [i for i in ids if is_random(i)]
    assert 0.1 < np.mean([share_of(i) < 0.2 for i in drawn]) < 0.35
    assert 0.17 < np.mean([share_of(i) < 0.2 for i in ids]) < 0.23


def test_the_same_journal_gives_the_same_bytes(workspace: Workspace) -> None:
    fill(workspace)
    run(workspace)
    first = outputs(workspace)
    for name in OUTPUTS:
        getattr(workspace, name).unlink()
    run(workspace)
    assert outputs(workspace) == first


def test_a_planted_test_image_is_refused(workspace: Workspace) -> None:
    ids, _ = fill(workspace, planted=True)
    report = run(workspace)
    assert report.refused[Reason.TEST_IMAGE] == 1
    assert fates(workspace)[ids[0]] == "test image"
    planted = load_file(workspace.test_set)["images"][0]
    for path in (workspace.feedback, workspace.live_set):
        assert not (load_file(path)["images"] == planted).all(axis=(1, 2)).any()


@pytest.mark.parametrize("known", ["training_set", "calibration_set"])
def test_an_image_that_trains_or_calibrates_is_refused(workspace: Workspace, known: str) -> None:
    image = load_file(getattr(workspace, known))["images"][:1]
    votes: list[Vote] = [(0, "reviewer:r", "1")]
    (identifier,) = make_journal(workspace.root / "journal", image, [1], votes)
    report = run(workspace, near=0)
    assert report.refused[Reason.TRAINING_IMAGE] == 1
    assert fates(workspace) == {identifier: "training image"}


def test_images_of_another_model_or_form_are_left_out(workspace: Workspace) -> None:
    fill(workspace)
    folder = workspace.root / "journal"
    make_journal(
        folder, strokes(2, 5), [1, 2], [(0, "reviewer:r", "1"), (1, "reviewer:r", "2")],
        columns={"model": ["another"] * 2},
    )  # fmt: skip
    make_journal(folder, strokes(1, 6)[:, 4:], [1], [(0, "reviewer:r", "1")])
    make_journal(
        folder, strokes(1, 7), [1], [(0, "reviewer:r", "1")],
        columns={"probabilities": [[float("nan")] * 10]},
    )  # fmt: skip
    report = run(workspace)
    assert (report.images, report.foreign) == (COUNT + 4, 4)
    assert len(fates(workspace)) == COUNT
    other = replace(TASK, form=ImageForm(height=24, width=28, ink=20))
    for path in (workspace.training_set, workspace.calibration_set, workspace.test_set):
        save_file({"images": strokes(20, 8)[:, 4:], "labels": np.zeros(20, np.uint8)}, path)
    KnownImages.of(load_file(workspace.test_set)["images"]).write(workspace.test_hashes)
    collect.run(workspace, PARAMS, other)
    assert CollectReport.read(workspace.collect_report).foreign == COUNT + 3


def test_removed_images_are_not_collected(workspace: Workspace) -> None:
    ids, _ = fill(workspace)
    JournalFolder.existing(workspace.root / "journal").remove(ids[7])
    assert run(workspace).images == COUNT - 1
    assert ids[7] not in fates(workspace)


def test_a_corrected_vote_corrects_the_label(workspace: Workspace) -> None:
    ids, _ = fill(workspace)
    run(workspace)
    before = load_file(workspace.feedback)["labels"]
    number = next(n for n, i in enumerate(ids) if share_of(i) >= PARAMS.live_share)
    add_votes(workspace.root / "journal", [(ids[number], "reviewer:r", "9")])
    run(workspace)
    after = load_file(workspace.feedback)["labels"]
    assert (before != after).sum() == 1
    assert after[before != after].tolist() == [9]


def test_a_changed_vote_moves_no_image_to_the_other_set(workspace: Workspace) -> None:
    """The first of two copies stays the original when its vote is changed after the second's."""
    image = strokes(1, 1)
    journal = workspace.root / "journal"
    (first,) = make_journal(journal, image, [1], [(0, "reviewer:r", "1")])
    (second,) = make_journal(journal, image, [1], start=START + timedelta(days=1))
    add_votes(journal, [(second, "reviewer:r", "1")], START + timedelta(days=1))
    run(workspace)
    before = fates(workspace)
    assert before[second] == "duplicate"
    for label in "21":
        add_votes(journal, [(first, "reviewer:r", label)], START + timedelta(days=2))
    run(workspace)
    assert fates(workspace) == before


def test_a_folder_that_is_no_journal_is_reported(workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"journal"):
        run(workspace, journal="data")


def test_collected_images_are_repeated_and_come_first(workspace: Workspace) -> None:
    """The last training images may be held out for validation."""
    fill(workspace)
    run(workspace)
    feedback, training = load_file(workspace.feedback), load_file(workspace.training_set)
    images, labels = training_images(workspace.training_set, workspace.feedback)
    count = len(feedback["labels"])
    assert len(images) == len(labels) == 3 * count + len(training["labels"])
    np.testing.assert_array_equal(images[3 * count :], training["images"])
    np.testing.assert_array_equal(labels[: 3 * count : 3], feedback["labels"])
    for repeat in range(3):
        np.testing.assert_array_equal(images[repeat : 3 * count : 3], feedback["images"])
