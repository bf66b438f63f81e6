"""Releases are registered, promoted and rolled back; models/ follows the pointer."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums, sha256
from pipeline.core.workspace import Workspace
from pipeline.registry import acts
from pipeline.registry.folder import verify_checksums
from pipeline.registry.ledger import Ledger
from pipeline.registry.releases import Releases
from tests.folders import content
from tests.releases import make_release


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def champion(workspace: Workspace) -> int:
    """The number of the champion, after checking that models/ contains a copy of it."""
    found = Releases.of(workspace).champion()
    assert found is not None
    names = ["MODEL_CARD.md", "mnist-cnn.onnx", "provenance.json", "providers.json"]
    assert read_checksums(workspace.checksums) == {
        name: sha256(workspace.models / name) for name in names
    }
    for name in names:
        assert (workspace.models / name).read_bytes() == (found.folder / name).read_bytes()
    return found.number


def acts_of(workspace: Workspace) -> list[tuple[str, int | None]]:
    return [(line.act.value, line.release) for line in Ledger(workspace.ledger).read()]


def test_without_releases_there_is_no_champion(workspace: Workspace) -> None:
    assert Releases.of(workspace).all == {}
    assert Releases.of(workspace).champion() is None
    assert Releases.of(workspace).previous() is None
    with pytest.raises(UserError, match="no release 1"):
        Releases.of(workspace).find(1)
    with pytest.raises(UserError):
        acts.rollback(workspace)


def test_a_registered_release_is_not_the_champion_until_it_is_promoted(
    workspace: Workspace,
) -> None:
    make_release(workspace, 0)
    second = make_release(workspace, 1, promoted=False)
    assert (second.number, champion(workspace)) == (2, 1)
    acts.promote(workspace, 2, "better on photographs")
    assert champion(workspace) == 2
    before = Releases.of(workspace).previous()
    assert before is not None
    assert before.number == 1
    line = Ledger(workspace.ledger).read()[-1]
    assert (line.reason, line.replaces) == ("better on photographs", before.sha256)
    with pytest.raises(UserError, match="already"):
        acts.promote(workspace, 2, "again")


def test_rollbacks_go_back_one_champion_at_a_time(workspace: Workspace) -> None:
    for variation in range(3):
        make_release(workspace, variation)
    acts.rollback(workspace)
    assert champion(workspace) == 2
    acts.rollback(workspace)
    assert champion(workspace) == 1
    with pytest.raises(UserError, match="before"):
        acts.rollback(workspace)
    acts.rollback(workspace, 3, "it was right after all")
    assert champion(workspace) == 3
    assert acts_of(workspace)[-3:] == [("rollback", 2), ("rollback", 1), ("rollback", 3)]


def test_promoting_the_champion_ends_the_hold_of_a_rollback(workspace: Workspace) -> None:
    for variation in range(3):
        make_release(workspace, variation)
    acts.rollback(workspace)
    assert Releases.of(workspace).held()
    acts.promote(workspace, 2, "it is the right one")
    found = Releases.of(workspace)
    assert not found.held()
    before, target = found.previous(), found.rollback_target()
    assert before is not None
    assert target is not None
    assert (champion(workspace), before.number, target.number) == (2, 3, 1)


def test_numbers_are_never_reused_and_releases_in_use_are_kept(workspace: Workspace) -> None:
    make_release(workspace, 0)
    make_release(workspace, 1)
    acts.rollback(workspace)
    for variation in range(2, 10):
        make_release(workspace, variation, promoted=False)
    left = Releases.of(workspace).all
    assert list(left) == [1, 2, 6, 7, 8, 9, 10]
    for release in list(left.values())[2:]:
        for path in release.folder.iterdir():
            path.unlink()
        release.folder.rmdir()
    assert make_release(workspace, 10, promoted=False).number == 11


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "golden.json").unlink(), "missing"),
        (lambda folder: (folder / "bom.json").write_text("{}"), "bom.json"),
        (lambda folder: (folder / "more.txt").write_text(""), "more.txt"),
    ],
)
def test_a_damaged_release_is_not_promoted(workspace: Workspace, damage: object, said: str) -> None:
    make_release(workspace, 0)
    second = make_release(workspace, 1, promoted=False)
    assert callable(damage)
    damage(second.folder)
    with pytest.raises(UserError):
        acts.promote(workspace, 2, "why not")
    assert champion(workspace) == 1
    with pytest.raises(UserError, match=said):
        verify_checksums(second.folder)


def test_a_pointer_that_disagrees_with_its_folder_is_an_error(workspace: Workspace) -> None:
    release = make_release(workspace, 0)
    release.model.write_bytes(b"another")
    with pytest.raises(UserError, match=r"release\.json"):
        Releases.of(workspace).champion()


def test_the_next_act_repairs_the_copies(workspace: Workspace) -> None:
    make_release(workspace, 0)
    whole = content(workspace.models)
    workspace.released_model.write_bytes(b"another")
    workspace.model_card.unlink()
    (workspace.models / "old-name.onnx").write_bytes(b"old")
    acts.complete(workspace)
    assert content(workspace.models) == whole


def test_an_edited_ledger_is_an_error(workspace: Workspace) -> None:
    make_release(workspace, 0)
    make_release(workspace, 1)
    lines = workspace.ledger.read_bytes().split(b"\n")
    for damaged in (
        [lines[0].replace(b"not inferior", b"better"), *lines[1:]],
        [lines[0], *lines[2:]],
        [lines[1], lines[0], *lines[2:]],
        [b"{}", *lines],
    ):
        workspace.ledger.write_bytes(b"\n".join(damaged))
        with pytest.raises(UserError, match=r"ledger\.jsonl: line \d"):
            Ledger(workspace.ledger).read()


def test_a_line_that_a_crash_cut_off_does_not_count(workspace: Workspace) -> None:
    make_release(workspace, 0)
    with workspace.ledger.open("ab") as file:
        file.write(b'{"seq": 3, "time"')
    assert len(Ledger(workspace.ledger).read()) == 2
    make_release(workspace, 1)
    assert acts_of(workspace)[2:] == [("register", 2), ("promote", 2)]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc names the synced files")
def test_each_step_of_a_release_is_on_disk_before_the_next(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power loss at any moment, the pointer names a complete release in the ledger."""
    make_release(workspace, 0)
    done: list[tuple[str, Path]] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def name(path: Path) -> Path:
        return path.relative_to(workspace.root)

    def watched_fsync(descriptor: int) -> None:
        done.append(("sync", name(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def watched(kind: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def move(path: Path, target: Path) -> Path:
            inside = [*path.iterdir()] if path.is_dir() else []
            for source in (path, *inside):  # a rename must not overtake the content
                assert ("sync", name(source)) in done
            done.append(("move", name(Path(target))))
            return kind(path, target)

        return move

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched(replace))
    monkeypatch.setattr(Path, "rename", watched(rename))
    make_release(workspace, 1)
    models = Path("models")
    steps = [
        ("move", models / "releases/2"),
        ("sync", models / "releases"),
        ("sync", models / "ledger.jsonl"),  # registered
        ("sync", models / "ledger.jsonl"),  # promoted
        ("move", models / "release.json"),
        ("sync", models),
        ("move", models / "mnist-cnn.onnx"),
        ("sync", models),
        ("move", models / "SHA256SUMS"),
        ("sync", models),
    ]
    position = -1
    for step in steps:
        assert step in done[position + 1 :], step
        position = done.index(step, position + 1)
    moves = [path.name for what, path in done if what == "move" and path.parent == models]
    assert moves[0] == "release.json"
    assert moves[-1] == "SHA256SUMS"
