"""What the review queue offers, and in which order."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.journal.entry import lists
from pipeline.journal.review import CHALLENGER, MARGIN, NOVELTY, RANDOM, VOTE, find_queue, images_of
from tests.digits import make_digits
from tests.journals import add_votes, make_journal

IMAGES, LABELS = make_digits(6, 3)
FOREIGN = "not a digit"
CERTAIN = {"random": [False] * 6}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_an_image_that_the_model_is_sure_of_is_not_offered(root: Path) -> None:
    make_journal(root, IMAGES, LABELS, columns=CERTAIN)
    assert find_queue(root, FOREIGN).items == []


def test_each_reason_puts_an_image_in_the_queue(root: Path) -> None:
    probabilities = np.full((6, 10), 0.01, np.float32)
    probabilities[np.arange(6), LABELS] = 0.91
    probabilities[1, 7] = 0.9
    challenger = {"version": "1" * 12, "label": "8", "verdict": "digit"}
    same = [{**challenger, "label": str(label)} for label in LABELS]
    made = make_journal(
        root, IMAGES, LABELS, [(4, "user:a", "9"), (5, "user:a", "5")],
        columns={
            "random": [True, *[False] * 5],
            "probabilities": lists(probabilities),
            "verdict": [*["digit"] * 2, FOREIGN, *["digit"] * 3],
            "challenger": [*same[:2], None, challenger, *same[4:]],
        },
    )  # fmt: skip
    assert {(item.id, item.reason) for item in find_queue(root, FOREIGN).items} == {
        (made[0], RANDOM),
        (made[1], MARGIN),
        (made[2], NOVELTY),
        (made[3], CHALLENGER),
        (made[4], VOTE),
    }


def test_reasons_take_turns_and_the_most_doubtful_come_first(root: Path) -> None:
    probabilities = np.zeros((6, 10), np.float32)
    probabilities[:, 0] = [0.5, 0.5, 0.5, 0.8, 0.7, 0.6]
    probabilities[:, 1] = 1 - probabilities[:, 0]
    made = make_journal(
        root, IMAGES, LABELS,
        columns={"random": [True, *[False] * 5], "probabilities": lists(probabilities),
                 "verdict": [*[FOREIGN] * 3, *["digit"] * 3]},
    )  # fmt: skip
    queue = find_queue(root, FOREIGN)
    assert [item.reason for item in queue.items] == [
        RANDOM,
        MARGIN,
        NOVELTY,
        MARGIN,
        NOVELTY,
        MARGIN,
    ]
    assert [item.id for item in queue.items if item.reason == MARGIN] == made[:2:-1]
    assert len({item.id for item in queue.items}) == 6
    assert queue.counts() == {RANDOM: 1, VOTE: 0, CHALLENGER: 0, MARGIN: 3, NOVELTY: 2}


def test_no_doubt_brings_an_image_of_the_random_sample_forward(root: Path) -> None:
    probabilities = np.full((6, 10), 0.1, np.float32)
    probabilities[np.arange(3), LABELS[:3]] = 0.91
    made = make_journal(
        root, IMAGES, LABELS, [(5, "user:a", "not a digit")],
        columns={"random": [True] * 6, "probabilities": lists(probabilities),
                 "verdict": [*["digit"] * 4, *[FOREIGN] * 2]},
    )  # fmt: skip
    assert [item.id for item in find_queue(root, FOREIGN).items] == sorted(made)


def test_what_a_reviewer_has_labelled_is_not_offered_again(root: Path) -> None:
    made = make_journal(root, IMAGES, LABELS, columns={"random": [True] * 6})
    add_votes(root, [(made[0], "reviewer:ann", "1"), (made[1], "user:a", "1")])
    assert {item.id for item in find_queue(root, FOREIGN).items} == set(made[1:])


def test_the_queue_is_chosen_from_the_newest_entries(root: Path) -> None:
    make_journal(root, IMAGES, LABELS, columns={"random": [True] * 6})
    new = make_journal(root, IMAGES, LABELS, columns={"random": [True] * 6})
    assert {item.id for item in find_queue(root, FOREIGN, 6).items} == set(new)


def test_images_are_found_by_id(root: Path) -> None:
    made = make_journal(root, IMAGES, LABELS)
    found = images_of(root, [made[4], made[1], "gone"])
    assert found.keys() == {made[1], made[4]}
    assert (found[made[4]] == IMAGES[4]).all()
