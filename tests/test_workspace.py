"""One starter of stages at a time in a folder: two would mix what they write."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.workspace import held
from tests.workspace import PROJECT, UNTRACKED, python, with_params

FIRST = "flow run 'first'"
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.workspace import held

with held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
    time.sleep(0.5)
    Path("finished").touch()
"""


@contextmanager
def holder(folder: Path, who: str = FIRST) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, who],
        cwd=folder,
        env=UNTRACKED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def content(folder: Path) -> set[str]:
    """The files below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_second_starter_is_refused_and_told_who_is_first(folder: Path) -> None:
    with holder(folder) as first:
        with pytest.raises(UserError) as refused, held("flow run 'second'"):
            pass
        by = f"{FIRST} (process {first.pid})"
        assert str(refused.value) == (
            f"the workspace is busy with {by}: wait for its end, or stop it"
        )


def test_one_that_waits_is_told_for_whom_and_goes_on_after_it(folder: Path) -> None:
    told = []
    with holder(folder) as first:

        def waiting(message: str) -> None:
            told.append(message)
            assert first.stdin is not None
            first.stdin.close()

        with held("flow run 'second'", waiting):
            assert (folder / "finished").exists()
            with pytest.raises(UserError) as third, held("flow run 'third'"):
                pass
            assert f"with flow run 'second' (process {os.getpid()}): " in str(third.value)
    (message,) = told
    assert message == (
        f"the workspace is busy with {FIRST} (process {first.pid}): waiting for its end"
    )


def test_after_one_ends_well_or_not_the_next_need_not_wait(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(FIRST):
        raise ZeroDivisionError
    with held(FIRST):
        pass
    with held("flow run 'second'"):
        pass


def test_a_killed_holder_leaves_the_folder_free(folder: Path) -> None:
    with holder(folder) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        with held("flow run 'second'"):
            pass


def test_a_child_with_the_descriptor_holds_the_folder_beyond_its_parent(folder: Path) -> None:
    with held(FIRST) as lock:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock])
    with child:
        with pytest.raises(UserError, match=FIRST), held("flow run 'second'"):
            pass
        child.kill()
    with held("flow run 'second'"):
        pass


def test_a_lock_that_was_removed_meanwhile_protects_nothing_and_is_made_anew(folder: Path) -> None:
    def waiting(message: str) -> None:
        paths.WORKSPACE_LOCK.unlink()  # as `rm -r artifacts` does; the first still runs
        assert first.stdin is not None
        first.stdin.close()

    with holder(folder) as first, held("flow run 'second'", waiting):
        assert paths.WORKSPACE_LOCK.read_text().startswith("flow run 'second'")
        with pytest.raises(UserError, match="flow run 'second'"), held("flow run 'third'"):
            pass


def test_folders_are_held_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other").mkdir()
    with holder(folder):
        monkeypatch.chdir(folder / "other")
        with held("flow run 'second'"):
            pass


@pytest.mark.parametrize("stage", ["fetch", "backprop"])
def test_a_stage_by_hand_is_refused_while_a_flow_run_holds_the_folder(
    stage: str, tmp_path: Path
) -> None:
    folder = with_params(tmp_path / "project")
    before = content(folder)
    with holder(folder) as first:
        result = python(folder, "-m", "pipeline", stage)
        assert result.returncode == 2
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: the workspace is busy with {FIRST} (process {first.pid})")
        assert content(folder) == before | {str(paths.WORKSPACE_LOCK)}


def test_a_stage_of_the_flow_run_that_holds_the_folder_runs(tmp_path: Path) -> None:
    folder = with_params(tmp_path / "project", updates=1, long_run=1, learning_rates=[1.0])
    of_the_flow = {"PIPELINE_FLOW_RUN_ID": "1234", "PIPELINE_FLOW_RUN_URL": "http://127.0.0.1/1234"}
    with holder(folder):
        result = python(folder, "-m", "pipeline", "backprop", **of_the_flow)
    assert result.returncode == 0, result.stderr
    assert (folder / paths.BACKPROP_SUMMARY).exists()


def test_a_stage_by_hand_holds_the_folder_while_it_runs(folder: Path) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        params["fetch"]["mirrors"] = [f"http://127.0.0.1:{silent.getsockname()[1]}/"]
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        stage = [sys.executable, "-m", "pipeline", "fetch"]
        with subprocess.Popen(stage, stdout=subprocess.DEVNULL, env=UNTRACKED) as fetching:
            silent.accept()
            named = re.escape(f"`python -m pipeline fetch` (process {fetching.pid})")
            with pytest.raises(UserError, match=named), held("flow run 'second'"):
                pass
            fetching.kill()


@pytest.mark.parametrize(
    ("arguments", "status"), [(["backprop"], 2), (["backprop", "--help"], 0), (["train", "-h"], 0)]
)
def test_where_no_stage_runs_there_is_no_lock(
    arguments: list[str], status: int, tmp_path: Path
) -> None:
    assert python(tmp_path, "-m", "pipeline", *arguments).returncode == status
    assert list(tmp_path.iterdir()) == []
