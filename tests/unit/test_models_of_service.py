"""The models of the service: roles, what is verified before a model answers, swaps, loads."""

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.exceptions import HTTPException

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.registry import acts
from pipeline.registry.keys import make_keys
from pipeline.registry.releases import Release, Releases
from pipeline.registry.signing import sign
from pipeline.service.following import Follower
from pipeline.service.loading import LoadError, load_release
from pipeline.service.metrics import Metrics
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.shared import ROW
from pipeline.service.sources import Pointer, open_challenger, open_model
from tests.releases import make_release, make_workspace
from tests.services import metric
from tests.templates import write_model

Change = Callable[[Release], object]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with two releases; the second is the champion."""
    workspace = make_workspace(tmp_path)
    for variation in (0, 1):
        make_release(workspace, variation)
    return workspace


class Process:
    """What a process of the service has: models, metrics, and what follows the workspace."""

    def __init__(
        self, workspace: Workspace, rows: Any = None, number: int = 0, trust: tuple[Path, ...] = ()
    ) -> None:
        rows = np.zeros(1, ROW) if rows is None else rows
        rows["serving"][number] = True
        model, source = open_model(None, workspace, trust)
        assert source is not None
        self.pool = ModelPool(model)
        self.metrics = Metrics(self.pool, [], rows["metrics"], number)
        orders = Orders(rows["orders"], rows["serving"], number)
        self.follower = Follower(self.pool, self.metrics, orders, source)

    @property
    def releases(self) -> dict[int | None, str]:
        """The role of each release."""
        return {model.release: role for role, model in self.pool.roles.models()}

    def count(self, name: str, **labels: str) -> float:
        return metric(self.metrics.text().decode(), name, **labels)


def answer(model: ServedModel) -> int:
    """The class of an image whose first pixels are 1, 2, 3: the variation of the model + 1."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 0, :3] = 1, 2, 3
    return int(model.classifier.predict(image).classes[0])


# roles


def test_a_swap_makes_the_old_champion_the_previous_model(workspace: Workspace) -> None:
    process = Process(workspace)
    assert process.releases == {2: "champion"}
    acts.rollback(workspace)
    process.follower.check()
    assert process.releases == {1: "champion", 2: "previous"}
    assert [answer(process.pool.champion), answer(process.pool.get("mnist-cnn", "2"))] == [1, 2]


def test_a_version_is_found_by_its_digest_and_by_its_release_number(workspace: Workspace) -> None:
    pool = Process(workspace).pool
    model = pool.champion
    for version in (None, model.sha256[:12], "2"):
        assert pool.get("mnist-cnn", version) is model
    for name, version in (("other", None), ("mnist-cnn", "1"), ("mnist-cnn", "None")):
        with pytest.raises(HTTPException) as caught:
            pool.get(name, version)
        assert caught.value.status_code == 404


def test_a_model_without_a_role_is_closed_after_its_last_request(workspace: Workspace) -> None:
    process = Process(workspace)
    process.follower.check()
    in_a_request = process.pool.champion
    closed = weakref.ref(in_a_request.classifier)
    gc.disable()  # it is closed at once, not at the next garbage collection
    try:
        for number in (1, 2):
            acts.promote(workspace, number, "test")
            process.follower.check()
        assert process.pool.champion is not in_a_request
        assert answer(in_a_request) == 2
        assert closed() is not None
        del in_a_request
        assert closed() is None
    finally:
        gc.enable()


# what is verified


def release_of(workspace: Workspace, number: int) -> Release:
    return Releases.of(workspace).find(number)


def names() -> list[str]:
    return [
        *("mnist-cnn.onnx", "MODEL_CARD.md", "providers.json", "provenance.json", "metrics.json"),
        *("behaviour.json", "answers.json", "golden.json", "bom.json", "SHA256SUMS"),
        *("curves.png", "confusion.png", "misclassified.png", "distortions.png", "negatives.png"),
    ]


@pytest.mark.parametrize("name", names())
def test_a_changed_byte_in_any_file_is_refused(workspace: Workspace, name: str) -> None:
    path = workspace.releases / "2" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    release = release_of(workspace, 2)
    path.write_bytes(content)
    with pytest.raises(LoadError) as caught:
        load_release(release)
    assert (caught.value.reason, caught.value.release) == ("checksum", 2)


def test_the_files_of_a_release_are_all_tampered_with_above(workspace: Workspace) -> None:
    assert sorted(path.name for path in (workspace.releases / "2").iterdir()) == sorted(names())


def seal(release: Release) -> None:
    """Make SHA256SUMS match the files again."""
    (release.folder / "SHA256SUMS").unlink()
    acts.seal(release.folder)


def replace_model(release: Release) -> None:
    shutil.copy(release.folder.parent / "1" / release.model.name, release.model)
    seal(release)


def add_file(release: Release) -> None:
    (release.folder / "more").touch()


def remove_file(release: Release) -> None:
    release.card.unlink()


def remove_sums(release: Release) -> None:
    (release.folder / "SHA256SUMS").unlink()


def answer_otherwise(release: Release) -> None:
    other = release.folder.parent / "1" / "golden.json"
    shutil.copy(other, release.golden)
    seal(release)


def forget_answers(release: Release) -> None:
    release.golden.write_text("{}")
    seal(release)


REFUSED: list[tuple[Change, str]] = [
    (replace_model, "checksum"),  # the pointer names another one
    (add_file, "checksum"),
    (remove_file, "checksum"),
    (remove_sums, "checksum"),
    (answer_otherwise, "golden"),
    (forget_answers, "golden"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_a_bad_release_is_refused_and_the_old_one_answers_on(
    workspace: Workspace, change: Change, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(workspace)
    release = make_release(workspace, 2)
    change(release)
    for _ in range(3):
        process.follower.check()
    assert process.releases == {2: "champion"}
    assert answer(process.pool.champion) == 2
    refused = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(refused) == 1  # it is not tried again
    assert process.count("model_loads_total", result="refused") == 1
    assert process.count("model_loads_total", result="refused", reason=reason) == 1


def test_a_file_that_is_no_model_is_refused_even_with_its_checksum(workspace: Workspace) -> None:
    release = release_of(workspace, 2)
    release.model.write_bytes(release.model.read_bytes()[:-100])
    seal(release)
    with pytest.raises(LoadError) as caught:
        load_release(release_of(workspace, 2))
    assert caught.value.reason == "broken"


def test_a_repaired_release_is_tried_again(workspace: Workspace) -> None:
    process = Process(workspace)
    release = make_release(workspace, 2)
    content = release.metrics.read_bytes()
    release.metrics.write_bytes(b"{}")
    process.follower.check()
    assert process.releases == {2: "champion"}
    release.metrics.write_bytes(content)
    process.follower.check()
    assert process.releases == {3: "champion", 2: "previous"}
    assert answer(process.pool.champion) == 3
    assert process.count("model_loads_total", result="loaded") == 1
    assert process.count("model_champion", release="3") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("nil", *TASK.labels[1:])},
        {"labels": TASK.labels[::-1]},
        {"model": "other"},
        {"noun": "cipher"},
        {"form": replace(TASK.form, ink=18)},
    ],
)
def test_a_model_with_another_interface_is_refused(
    workspace: Workspace, tmp_path: Path, change: dict[str, Any]
) -> None:
    other = make_workspace(tmp_path / "other", task := replace(TASK, **change))
    release = make_release(other, 1, task=task)
    like = Process(workspace).pool.champion.signature
    with pytest.raises(LoadError) as caught:
        load_release(release, like=like)
    assert caught.value.reason == "interface"
    assert load_release(release).release == 1  # the file itself is sound


def test_a_challenger_is_a_release_or_a_file_with_the_interface_of_the_champion(
    workspace: Workspace, tmp_path: Path
) -> None:
    champion, _ = open_model(None, workspace)
    assert open_challenger("1", workspace, (), champion).release == 1
    file = shutil.copy(release_of(workspace, 1).model, tmp_path / "file.onnx")
    assert open_challenger(str(file), None, (), champion).release is None
    with pytest.raises(UserError):
        open_challenger("3", workspace, (), champion)  # there is none
    with pytest.raises(UserError):
        open_challenger("1", None, (), champion)
    with pytest.raises(LoadError) as caught:
        open_challenger(str(write_model(tmp_path / "letters.onnx")), None, (), champion)
    assert caught.value.reason == "interface"


def test_an_untrusted_challenger_is_refused(
    workspace: Workspace, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    sign(release_of(workspace, 2).folder, private)
    champion, _ = open_model(None, workspace, (public,))
    with pytest.raises(LoadError) as caught:
        open_challenger("1", workspace, (public,), champion)
    assert caught.value.reason == "signature"
    file = shutil.copy(release_of(workspace, 1).model, tmp_path / "file.onnx")
    with pytest.raises(UserError):
        open_challenger(str(file), workspace, (public,), champion)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"))


def test_with_a_trusted_key_only_what_it_has_signed_is_loaded(
    workspace: Workspace, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    trust, release = [public], release_of(workspace, 2)
    assert load_release(release).release == 2

    def reason() -> str:
        with pytest.raises(LoadError) as caught:
            load_release(release, trust)
        return caught.value.reason

    assert reason() == "signature"  # unsigned
    sign(release.folder, private)
    assert load_release(release, trust).release == 2
    other = make_keys(tmp_path / "other")[1]
    assert load_release(release, [other, public]).release == 2
    (release.folder / "metrics.json").write_text("{}")
    seal(release)
    assert reason() == "signature"  # changed, with new checksums
    (release.folder / "release.sig").unlink()
    seal(release)
    sign(release.folder, make_keys(tmp_path / "third")[0])
    assert reason() == "signature"  # by someone else


def test_a_service_with_a_trusted_key_follows_only_to_signed_releases(
    workspace: Workspace, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    with pytest.raises(UserError):
        open_model(None, workspace, (public,))
    sign(release_of(workspace, 2).folder, private)
    process = Process(workspace, trust=(public,))
    make_release(workspace, 2)
    process.follower.check()
    assert process.releases == {2: "champion"}
    assert process.count("model_loads_total", result="refused", reason="signature") == 1
    with pytest.raises(LoadError):
        process.follower.load(release_of(workspace, 1))
    sign(release_of(workspace, 3).folder, private)
    process.follower.check()
    assert process.releases == {3: "champion", 2: "previous"}


def test_the_first_model_of_a_service_is_verified_too(workspace: Workspace) -> None:
    (workspace.releases / "2" / "metrics.json").write_text("{}")
    with pytest.raises(UserError):
        open_model(None, workspace)


def test_a_workspace_without_releases_is_followed_to_its_first_one(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    acts.seal(workspace.models)
    process = Process(workspace)
    assert process.releases == {None: "champion"}
    make_release(workspace, 1)
    process.follower.check()
    assert process.releases == {1: "champion", None: "previous"}


def test_a_file_is_not_followed(workspace: Workspace) -> None:
    file = str(release_of(workspace, 1).model)
    model, source = open_model(file, workspace)
    assert (model.release, source) == (1, None)


# several processes


def test_all_processes_load_what_one_is_told_to_load(workspace: Workspace) -> None:
    make_release(workspace, 2)
    rows = np.zeros(2, ROW)
    first, second = (Process(workspace, rows, number) for number in range(2))
    number = first.follower.load(first.follower.find(1))
    assert first.releases == {3: "champion", 1: "loaded"}
    orders = Orders(rows["orders"].copy(), rows["serving"], 0)
    assert not Orders.done_by_all(first.follower._orders, number)
    second.follower.obey()
    assert second.releases == first.releases
    assert first.follower._orders.done_by_all(number)
    assert answer(second.pool.get("mnist-cnn", "1")) == 1
    del orders
    third = Process(workspace, rows, 1)  # replaces the second
    third.follower.obey()
    assert third.releases == first.releases
    third.follower.unload({1})
    first.follower.obey()
    assert third.releases == first.releases == {3: "champion"}


def test_an_order_makes_all_processes_look_for_a_champion(workspace: Workspace) -> None:
    rows = np.zeros(2, ROW)
    first, second = (Process(workspace, rows, number) for number in range(2))
    for process in (first, second):
        process.follower.check()
    acts.rollback(workspace)
    first.follower.look()
    assert first.releases == {1: "champion", 2: "previous"}
    second.follower.obey()
    assert second.releases == first.releases
    assert first.count("model_champion", release="1") == 2


def test_the_number_of_loaded_releases_is_limited(workspace: Workspace) -> None:
    orders = Orders(np.zeros(1, ROW)["orders"], np.ones(1, np.int64), 0)
    orders.give((1, 2, 3, 4))
    with pytest.raises(ValueError, match="unload"):
        orders.give((1, 2, 3, 4, 5))
    assert orders.latest().releases == (1, 2, 3, 4)


def test_counts_of_versions_that_make_room_are_kept_together(workspace: Workspace) -> None:
    process = Process(workspace)
    image = np.zeros((1, 28, 28), np.uint8)
    found = process.pool.champion.classifier.predict(image)
    for number in range(20):
        process.metrics.record_predictions(f"{number:012}", found)
    assert process.count("request_images_count") == 20
    assert process.count("request_images_count", version=f"{19:012}") == 1
    assert process.count("request_images_count", version=f"{0:012}") == 0
    assert process.count("verdicts_total", version="older") == 12


def test_the_state_of_a_pointer_changes_with_every_file(workspace: Workspace) -> None:
    source = Pointer(workspace)
    states = [source.state()]
    for path in (workspace.pointer, *sorted((workspace.releases / "2").iterdir())):
        content = json.dumps({"release": 2}) if path == workspace.pointer else path.name
        path.write_text(content)
        states.append(source.state())
    assert len(set(states)) == len(states) > 10
