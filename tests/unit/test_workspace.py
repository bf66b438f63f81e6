"""A workspace is found like a git repository; one process at a time holds its lock."""

import errno
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT

FIRST, SECOND = "flow run 'first'", "flow run 'second'"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with only params.yaml, in a folder project/."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project/params.yaml").touch()
    return Workspace(tmp_path / "project")


@pytest.mark.parametrize(
    ("current", "root"), [(".", "."), ("data", ".."), ("data/raw/deep", "../../..")]
)
def test_a_workspace_is_found_from_a_subfolder(
    current: str, root: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.root / current).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(workspace.root / current)
    found = Workspace.find()
    assert str(found.root) == root
    assert found.params.samefile(workspace.params)
    assert found.name(found.weights) == "artifacts/weights.safetensors"


def test_the_nearest_workspace_is_found(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.root / "inner/data").mkdir(parents=True)
    (workspace.root / "inner/params.yaml").touch()
    monkeypatch.chdir(workspace.root / "inner/data")
    assert str(Workspace.find().root) == ".."


def test_a_missing_workspace_is_reported_with_the_folder_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"no params\.yaml in {tmp_path} "):
        Workspace.find()
    with pytest.raises(UserError, match=r"elsewhere .*params"):
        Workspace.at(Path("elsewhere"))


def test_a_full_disk_is_reported_with_the_file(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match=r"No space left .*workspace\.lock"), workspace.lock(FIRST):
        pass


def test_a_folder_without_permission_is_skipped(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a parent folder of another user."""

    def denied(path: object, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(os, "stat", denied)
    with pytest.raises(UserError, match=r"no params\.yaml in"):
        Workspace.find()


def test_a_deleted_current_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deleted").mkdir()
    os.chdir("deleted")
    (tmp_path / "deleted").rmdir()
    with pytest.raises(UserError, match="the current folder has been deleted"):
        Workspace.find()


@pytest.mark.parametrize("name", ["artifacts/mlflow.json", "artifacts/weights.safetensors"])
@pytest.mark.parametrize("command", ["backprop", "track"])
def test_a_folder_in_place_of_a_file_stops_a_command_before_it_works(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    """Otherwise it would fail when it writes the file, possibly after hours."""
    shutil.copy(PROJECT / "params.yaml", workspace.params)
    (workspace.root / name).mkdir(parents=True)
    for work in ("pipeline.stages.backprop.run", "pipeline.cli.tracking.publish"):
        monkeypatch.setattr(work, lambda *_: pytest.fail("it worked"))
    result = CliRunner().invoke(app, ["--workspace", str(workspace.root), command])
    assert isinstance(result.exception, UserError)
    assert str(workspace.root / name) in str(result.exception)


@pytest.mark.parametrize("name", ["artifacts", "reports", "reports/train", "models", "data"])
def test_a_file_in_place_of_a_folder_is_refused(workspace: Workspace, name: str) -> None:
    workspace.check_places()
    (workspace.root / name).parent.mkdir(exist_ok=True)
    (workspace.root / name).touch()
    with pytest.raises(UserError, match=f"{name} is a file"):
        workspace.check_places()


def test_the_checksums_determine_the_released_model(workspace: Workspace) -> None:
    """In a mounted folder, a release under another name leaves the old file."""
    workspace.models.mkdir()
    new, old = workspace.models / "new.onnx", workspace.models / "letters.onnx"
    new.touch()
    assert workspace.released_model == new
    old.touch()
    for listed in (None, "a  other.onnx\n", "a  new.onnx\nb  letters.onnx\n"):
        if listed is not None:
            workspace.checksums.write_text(listed)
        with pytest.raises(UserError, match=r"letters\.onnx, new\.onnx"):
            _ = workspace.released_model
    workspace.checksums.write_text("a  MODEL_CARD.md\nb  new.onnx\n")
    assert workspace.released_model == new


def test_a_second_process_is_refused_with_the_name_of_the_first(workspace: Workspace) -> None:
    with (
        workspace.lock(FIRST),
        pytest.raises(UserError) as refused,
        workspace.lock(SECOND),
    ):
        pass
    by = f"{FIRST} (process {os.getpid()})"
    assert f"busy with {by}: " in str(refused.value)


def test_a_waiting_process_is_informed_and_then_gets_the_lock(workspace: Workspace) -> None:
    messages = []
    with ExitStack() as first:
        first.enter_context(workspace.lock(FIRST))

        def waiting(message: str) -> None:
            messages.append(message)
            first.close()

        with (
            workspace.lock(SECOND, waiting),
            pytest.raises(UserError, match=SECOND),
            workspace.lock("flow run 'third'"),
        ):
            pass
    (message,) = messages
    assert f"busy with {FIRST} (process {os.getpid()}): " in message


def test_the_lock_is_released_on_success_and_failure(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), workspace.lock(FIRST):
        raise ZeroDivisionError
    with workspace.lock(FIRST):
        pass
    with workspace.lock(SECOND):
        pass


def test_a_process_that_refuses_to_wait_keeps_the_lock_of_the_first(workspace: Workspace) -> None:
    """For example a flow run with an invalid parameter."""

    def waiting(message: str) -> None:
        raise UserError("a wrong parameter")

    with workspace.lock(FIRST):
        with pytest.raises(UserError, match="a wrong parameter"), workspace.lock(SECOND, waiting):
            pass
        assert workspace.lock_file.read_text().startswith(FIRST)


def test_a_removed_lock_file_is_recreated(
    workspace: Workspace,
) -> None:
    with ExitStack() as first:
        first.enter_context(workspace.lock(FIRST))

        def waiting(message: str) -> None:
            workspace.lock_file.unlink()  # as with `rm -r artifacts` while the first runs
            first.close()

        with workspace.lock(SECOND, waiting):
            assert workspace.lock_file.read_text().startswith(SECOND)
            with pytest.raises(UserError, match=SECOND), workspace.lock("flow run 'third'"):
                pass


def test_workspaces_are_locked_independently(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.lock(FIRST), Workspace(tmp_path / "other").lock(SECOND):
        pass
