"""Which labelled images from use are collected: votes, copies, caps, doubtful labels."""

import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipeline.collection.candidates import Candidates, Reason
from pipeline.collection.caps import within_cap
from pipeline.collection.duplicates import originals
from pipeline.collection.hashes import digests, distances, perceptual_hashes
from pipeline.collection.known import KnownImages
from pipeline.collection.labels import LEAST, doubtful
from pipeline.collection.selection import Known, Rules, Selection, select
from pipeline.collection.votes import Outcome, Vote, by_image, counted, settle
from tests.digits import Images

NEAR = 24  # bits
START = datetime(2026, 11, 1, tzinfo=UTC)
CLASSES = tuple("0123456789")
RULES = Rules(votes=2, cap_per_client=50, near=NEAR, live_share=0.2)


def strokes(count: int, seed: int) -> Images:
    """Images of random strokes, none near another one, uint8 [count, 28, 28]."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, 28, 28), np.uint8)
    rows, columns = random.integers(3, 25, (2, count, 40))
    images[np.arange(count)[:, None], rows, columns] = random.integers(128, 256, (count, 40))
    return images


def vote(entry: int, voter: str, label: object, seconds: int = 0) -> Vote:
    return Vote(name(entry), START + timedelta(seconds=seconds), voter, str(label))


def name(entry: int) -> str:
    return f"{entry:04}"


def certain(labels: Sequence[int], confidence: float = 0.91) -> np.ndarray:
    probabilities = np.full((len(labels), 10), (1 - confidence) / 9, np.float32)
    probabilities[np.arange(len(labels)), labels] = confidence
    return probabilities


def share_of(identifier: str) -> float:
    """Every fifth image is for the live test set."""
    return (int(identifier) % 5) / 5


def pick(
    images: Images,
    labels: Sequence[int],
    votes: Sequence[Vote],
    *,
    test: Images | None = None,
    training: Images | None = None,
    clients: Sequence[str] | None = None,
    rules: Rules = RULES,
    share: Callable[[str], float] = share_of,
) -> Selection:
    """Select among these images; `labels` are those of the model."""
    none = images[:0]
    known = Known(
        test=KnownImages.of(none if test is None else test),
        training=digests(none if training is None else training),
    )
    voted = sorted({int(each.entry) for each in votes})
    senders = [f"client {n}" for n in range(len(images))] if clients is None else clients
    candidates = Candidates(
        [name(n) for n in voted],
        images[voted],
        certain(labels)[voted],
        [senders[n] for n in voted],
        votes,
    )
    return select(candidates, CLASSES, known, rules, share)


def agreed(labels: Sequence[int], voters: Sequence[str] = ("user:a", "user:b")) -> list[Vote]:
    """Votes of each of these voters for these labels, a second apart."""
    return [vote(n, who, label, n) for n, label in enumerate(labels) for who in voters]


def test_a_hash_changes_little_with_noise_and_light_and_not_by_a_shift() -> None:
    images = strokes(30, 1)
    noise = np.random.default_rng(2).normal(0, 5, images.shape)
    hashes = perceptual_hashes(images)
    assert hashes.shape == (30, 4)
    for changed in (
        np.clip(images + noise, 0, 255).astype(np.uint8),
        (images * 0.8).astype(np.uint8),
        np.roll(images, (1, -1), axis=(1, 2)),
        255 - images,
        255 - np.roll(images, (1, -1), axis=(1, 2)) // 2,
    ):
        assert distances(changed, hashes).max() <= NEAR
    assert distances(strokes(30, 3), hashes).min() > NEAR
    assert distances(np.roll(images, 3, axis=2), hashes).min() > NEAR


def test_hashes_of_other_forms_are_whole_words() -> None:
    small = strokes(3, 1)[:, 10:18, 8:20]
    assert perceptual_hashes(small).shape == (3, 2)  # 8 x 12 frequencies without the mean
    assert distances(small, perceptual_hashes(small)).tolist() == [0, 0, 0]
    assert perceptual_hashes(small[:0]).shape == (0, 2)


def test_copies_are_found_among_more_images_than_are_compared_at_a_time() -> None:
    images = strokes(600, 1)
    images[299] = np.roll(images[200], 1, axis=1)
    images[7] = 255 - images[3]
    images[599] = images[299] // 2
    expected = np.arange(600)
    expected[[7, 299, 599]] = 3, 200, 200
    assert (originals(images, NEAR) == expected).all()


def test_many_copies_need_no_more_memory_than_others() -> None:
    """Anybody can send thousands of pictures that are almost the same."""
    image = strokes(1, 1)[0]
    images = np.broadcast_to(image, (3000, *image.shape)).copy()
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(3000), 200)
    tracemalloc.start()
    try:
        assert not originals(images, NEAR).any()
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_copies_belong_to_the_earliest_image() -> None:
    images = strokes(6, 1)
    images[2] = np.roll(images[0], 1, axis=1)
    images[4] = images[2]  # a copy of a copy
    images[5] = images[0]
    assert originals(images, NEAR).tolist() == [0, 1, 0, 3, 0, 0]
    assert originals(images, 0).tolist() == [0, 1, 0, 3, 0, 0]  # a shift changes no bit
    assert originals(images[:0], NEAR).tolist() == []
    chain = np.stack([np.roll(images[1], right, axis=1) for right in range(4)])
    assert originals(chain, NEAR).tolist() == [0, 0, 2, 2]  # two pixels apart is not near


def test_a_later_image_does_not_change_what_earlier_ones_are() -> None:
    images = strokes(40, 1)
    images[20:] = np.roll(images[:20], 1, axis=2)
    whole = originals(images, NEAR)
    for count in range(41):
        assert (originals(images[:count], NEAR) == whole[:count]).all()


def test_the_latest_vote_of_a_voter_counts() -> None:
    votes = [vote(1, "user:a", 3, 0), vote(1, "user:a", 5, 9), vote(1, "user:b", 5, 1)]
    assert [each.label for each in counted(votes, 50)] == ["5", "5"]


def test_votes_of_a_user_count_on_the_first_images_only() -> None:
    votes = [vote(n, who, 1, n) for n in range(5) for who in ("user:a", "reviewer:r")]
    votes += [vote(0, "user:a", 2, 99)]  # a correction is no further image
    kept = counted(votes, 3)
    assert [each.entry for each in kept if each.voter == "reviewer:r"] == [*map(name, range(5))]
    users = {each.entry: each.label for each in kept if each.voter == "user:a"}
    assert users == {name(0): "2", name(1): "1", name(2): "1"}


def test_votes_on_copies_count_for_the_original_once_per_voter() -> None:
    votes = [vote(1, "user:a", 3, 0), vote(2, "user:b", 3, 1), vote(2, "user:a", 4, 2)]
    found = by_image(votes, {name(1): name(1), name(2): name(1)})
    assert {(each.voter, each.label) for each in found[name(1)]} == {
        ("user:a", "4"),
        ("user:b", "3"),
    }


@pytest.mark.parametrize(
    ("votes", "outcome"),
    [
        ([], Outcome(None)),
        (["user:a 3"], Outcome(None)),
        (["user:a 3", "user:b 3"], Outcome("3")),
        (["user:a 3", "user:b 4"], Outcome(None, disputed=True)),
        (["user:a 3", "user:b 3", "user:c 4"], Outcome("3", disputed=True)),
        (["user:a 3", "user:b 3", "user:c 4", "user:d 4"], Outcome(None, disputed=True)),
        (["reviewer:r 3"], Outcome("3", trusted=True)),
        (["import:list 3"], Outcome("3", trusted=True)),
        (["user:a 4", "user:b 4", "reviewer:r 3"], Outcome("3", trusted=True)),
        (["reviewer:r 3", "reviewer:s 4"], Outcome(None, disputed=True)),
        (["reviewer:r 3", "reviewer:s 3"], Outcome("3", trusted=True)),
    ],
)
def test_a_label_is_settled_by_agreeing_users_or_a_reviewer(
    votes: list[str], outcome: Outcome
) -> None:
    split = [text.rpartition(" ") for text in votes]
    assert settle([vote(1, voter, label) for voter, _, label in split], 2) == outcome


def test_reviewed_images_do_not_count_towards_the_cap() -> None:
    clients = ["a", "a", "b", "a", "a"]
    assert within_cap(clients, [False] * 5, 2).tolist() == [True, True, True, False, False]
    reviewed = [True, False, False, False, True]
    assert within_cap(clients, reviewed, 1).tolist() == [True, True, True, False, True]


def test_flipped_labels_are_doubtful_and_right_ones_are_not() -> None:
    truth = np.arange(200) % 10
    labels = truth.astype(np.uint8)
    labels[:20] = (labels[:20] + 1) % 10
    probabilities = certain(truth.tolist())
    probabilities[50:53] = certain([0, 0, 0], 0.3)  # unsure
    found = doubtful(labels, probabilities)
    assert found[:20].mean() > 0.9
    assert found[20:].mean() < 0.02


def test_few_images_or_one_class_give_no_doubt() -> None:
    labels = np.zeros(LEAST, np.uint8)
    assert not doubtful(labels, certain([1] * LEAST)).any()
    labels[0] = 1
    assert not doubtful(labels[:-1], certain([1] * (LEAST - 1))).any()


def test_every_image_is_trained_on_or_tested_on_by_its_id() -> None:
    images, labels = strokes(40, 1), [n % 10 for n in range(40)]
    found = pick(images, labels, agreed(labels))
    assert found.live.ids == [name(n) for n in range(0, 40, 5)]
    assert found.training.ids == [name(n) for n in range(40) if n % 5]
    for part in (found.live, found.training):
        numbers = [int(each) for each in part.ids]
        assert part.labels.tolist() == [labels[n] for n in numbers]
        assert (part.images == images[numbers]).all()
    assert not found.refused.ids


def test_test_images_and_training_images_are_refused() -> None:
    images, labels = strokes(20, 1), [1] * 20
    noise = np.random.default_rng(2).normal(0, 5, images[:2].shape)
    test = np.clip(images[:2] + noise, 0, 255).astype(np.uint8)
    found = pick(
        images, labels, agreed(labels), test=np.concatenate([test, images[5:6]]),
        training=images[7:9],
    )  # fmt: skip
    assert dict(zip(found.refused.ids, found.refused.reasons, strict=True)) == {
        name(0): Reason.TEST_IMAGE,
        name(1): Reason.TEST_IMAGE,
        name(5): Reason.TEST_IMAGE,
        name(7): Reason.TRAINING_IMAGE,
        name(8): Reason.TRAINING_IMAGE,
    }
    assert not {*found.refused.ids} & {*found.training.ids, *found.live.ids}


def test_the_copy_that_was_voted_on_first_keeps_its_place() -> None:
    """An older copy that is labelled later must not move an image to the other set."""
    images = strokes(4, 1)
    images[0] = images[1]
    late = [vote(0, who, 1, 99) for who in ("user:a", "user:b")]
    early = [vote(1, who, 1, 1) for who in ("user:a", "user:b")]
    assert pick(images, [1] * 4, early).training.ids == [name(1)]
    found = pick(images, [1] * 4, early + late)
    assert (found.training.ids, found.live.ids) == ([name(1)], [])
    assert (found.refused.ids, found.refused.reasons) == ([name(0)], [Reason.DUPLICATE])


def test_votes_on_two_copies_settle_a_label_together() -> None:
    images = strokes(4, 1)
    images[2] = images[1]
    found = pick(images, [1] * 4, [vote(1, "user:a", 7), vote(2, "user:b", 7)])
    assert (found.training.ids, found.training.labels.tolist()) == ([name(1)], [7])


def test_unusable_votes_are_refused_with_their_reason() -> None:
    votes = [
        vote(1, "user:a", 1),
        *(vote(2, who, label) for who, label in (("user:a", 1), ("user:b", 2))),
        vote(3, "reviewer:r", "not a digit"),
        vote(4, "reviewer:r", 4),
    ]
    found = pick(strokes(5, 1), [1] * 5, votes)
    assert found.refused.reasons == [Reason.UNSETTLED, Reason.DISPUTED, Reason.NO_CLASS]
    assert found.training.ids == [name(4)]


def test_a_client_sends_only_so_many_images_that_users_label() -> None:
    labels = [1] * 12
    votes = [vote(n, f"user:{n}{who}", 1, n) for n in range(12) for who in "ab"]
    votes.append(vote(11, "reviewer:r", 1, 11))
    rules = Rules(votes=2, cap_per_client=5, near=NEAR, live_share=0.0)
    found = pick(strokes(12, 1), labels, votes, clients=["x"] * 12, rules=rules)
    assert found.training.ids == [*map(name, range(5)), name(11)]
    assert {*found.refused.reasons} == {Reason.OVER_CAP}


def test_poisoned_votes_of_one_client_change_nothing() -> None:
    images, labels = strokes(400, 1), [n % 10 for n in range(400)]
    honest = [vote(n, f"user:{n % 20}{who}", labels[n], n) for n in range(200) for who in "ab"]
    poison = [vote(n, "user:poison", (labels[n] + 1) % 10, 500 + n) for n in range(200, 400)]
    poison += [vote(n, "user:poison", (labels[n] + 1) % 10, 500 + n) for n in range(200)]
    clean, poisoned = pick(images, labels, honest), pick(images, labels, honest + poison)
    for one, other in ((clean.training, poisoned.training), (clean.live, poisoned.live)):
        assert one.ids == other.ids
        assert len(one.ids) > 30
        assert (one.labels == other.labels).all()


def test_ten_per_cent_flipped_labels_are_outvoted_or_found() -> None:
    """Each of three voters is wrong in a tenth of the cases, independently."""
    count, random = 500, np.random.default_rng(5)
    images, truth = strokes(count, 1), np.arange(count) % 10
    votes = []
    for voter in range(3):
        flipped = random.random(count) < 0.1
        said = np.where(flipped, (truth + random.integers(1, 10, count)) % 10, truth)
        votes += [vote(n, f"user:{voter}", said[n], n) for n in range(count)]
    rules = Rules(votes=2, cap_per_client=count, near=NEAR, live_share=0.2)
    found = pick(images, truth.tolist(), votes, rules=rules)
    for part, most in ((found.training, 0.0), (found.live, 0.01)):
        numbers = [int(each) for each in part.ids]
        assert len(numbers) > 80
        assert (part.labels != truth[numbers]).mean() <= most


def test_a_single_vote_with_a_flipped_label_is_found() -> None:
    count, random = 500, np.random.default_rng(5)
    truth = np.arange(count) % 10
    flipped = random.random(count) < 0.1
    said = np.where(flipped, (truth + 1) % 10, truth)
    rules = Rules(votes=1, cap_per_client=count, near=NEAR, live_share=0.2)
    votes = [vote(n, "user:a", said[n], n) for n in range(count)]
    found = pick(strokes(count, 1), truth.tolist(), votes, rules=rules)
    numbers = [int(each) for each in found.training.ids]
    assert (found.training.labels != truth[numbers]).mean() < 0.01
    assert found.refused.reasons.count(Reason.DOUBTFUL) >= 30
    assert not {*found.refused.ids} & {*found.live.ids}
    assert len(found.live.ids) == count / 5  # not filtered by what a model thinks
    assert {int(each) for each in found.doubtful_live} <= {*np.flatnonzero(flipped).tolist()}
    assert found.doubtful_live


def test_a_reviewer_overrules_doubt() -> None:
    labels = [n % 10 for n in range(100)]
    votes = agreed(labels)
    votes += [vote(n, "reviewer:r", (labels[n] + 1) % 10, n) for n in (1, 2)]
    rules = Rules(votes=2, cap_per_client=100, near=NEAR, live_share=0.0)
    found = pick(strokes(100, 1), labels, votes, rules=rules)
    assert found.training.labels[1:3].tolist() == [2, 3]
