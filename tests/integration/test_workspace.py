"""Processes that share a workspace, and commands that run from outside it."""

import hashlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT, UNTRACKED, python, with_params
from tests.folders import content

FIRST = "flow run 'first'"
OWNER = """
import sys
from pathlib import Path
from pipeline.core.workspace import Workspace

with Workspace(Path(sys.argv[1])).lock(sys.argv[2]):
    print("locked", flush=True)
    sys.stdin.read()
"""
PUBLISHED = b"a file of the data set"


@contextmanager
def owner(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """Another process that locks the workspace until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(workspace.root), FIRST],
        env=UNTRACKED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose data set is a small file in mirror/."""
    workspace = Workspace(with_params(tmp_path / "project"))
    (workspace.root / "mirror").mkdir()
    (workspace.root / "mirror/file.gz").write_bytes(PUBLISHED)
    files = {"file.gz": hashlib.sha256(PUBLISHED).hexdigest()}
    set_fetch(workspace, mirrors=["mirror"], files=files)
    return workspace


def set_fetch(workspace: Workspace, **values: Any) -> None:
    """Change values in the fetch section of params.yaml."""
    params = yaml.safe_load(workspace.params.read_text())
    params["fetch"] |= values
    workspace.params.write_text(yaml.safe_dump(params))


def test_a_killed_owner_releases_the_workspace(workspace: Workspace) -> None:
    with owner(workspace) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        with workspace.lock("flow run 'second'"):
            pass


def test_a_child_that_inherits_the_descriptor_keeps_the_lock(workspace: Workspace) -> None:
    with workspace.lock(FIRST) as lock:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock])
    with child:
        with pytest.raises(UserError, match=FIRST), workspace.lock("flow run 'second'"):
            pass
        child.kill()
    with workspace.lock("flow run 'second'"):
        pass


@pytest.mark.parametrize("stage", ["fetch", "backprop"])
def test_a_stage_is_refused_during_another_flow_run(stage: str, workspace: Workspace) -> None:
    before = content(workspace.root).keys()
    with owner(workspace) as first:
        result = python(workspace.root, "-m", "pipeline", stage)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: the workspace is busy with {FIRST} (process {first.pid})")
    assert content(workspace.root).keys() == before | {workspace.name(workspace.lock_file)}


def test_a_stage_of_the_flow_run_that_owns_the_lock_runs(workspace: Workspace) -> None:
    of_the_flow = {"PIPELINE_FLOW_RUN_ID": "1234", "PIPELINE_FLOW_RUN_URL": "http://127.0.0.1/1234"}
    with owner(workspace):
        result = python(workspace.root, "-m", "pipeline", "fetch", **of_the_flow)
    assert result.returncode == 0, result.stderr
    assert (workspace.raw / "file.gz").exists()


def test_a_stage_locks_the_workspace_while_it_runs(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        set_fetch(workspace, mirrors=[f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        stage = [sys.executable, "-m", "pipeline", "--workspace", str(workspace.root), "fetch"]
        with subprocess.Popen(stage, stdout=subprocess.DEVNULL, env=UNTRACKED) as fetching:
            silent.accept()
            named = re.escape(f"`python -m pipeline fetch` (process {fetching.pid})")
            with pytest.raises(UserError, match=named), workspace.lock("flow run 'second'"):
                pass
            fetching.kill()


@pytest.mark.parametrize(
    ("current", "options"),
    [
        ("project", []),
        ("project/data", []),
        ("elsewhere", ["--workspace", "../project"]),
        ("elsewhere", ["--workspace", "{}/project"]),
    ],
    ids=["root", "subfolder", "relative", "absolute"],
)
def test_a_stage_runs_from_any_folder_and_writes_only_into_its_workspace(
    current: str, options: list[str], workspace: Workspace, tmp_path: Path
) -> None:
    before = content(tmp_path).keys()
    (tmp_path / current).mkdir(exist_ok=True)
    options = [option.format(tmp_path) for option in options]
    result = python(tmp_path / current, "-m", "pipeline", *options, "fetch")
    assert result.returncode == 0, result.stderr
    written = {"project/data/raw/file.gz", "project/artifacts/workspace.lock"}
    assert content(tmp_path).keys() == before | written


def test_use_applies_a_file_from_the_current_folder_to_the_workspace(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\n")
    result = python(tmp_path, "-m", "pipeline", "--workspace", "project", "use", "mine.yaml")
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(workspace.params.read_text())["train"]["epochs"] == 3


@pytest.mark.parametrize("folder", ["project/data", "elsewhere"])
def test_the_package_lock_is_that_of_the_workspace(
    folder: str, workspace: Workspace, tmp_path: Path
) -> None:
    shutil.copy(PROJECT / "requirements.txt", workspace.root)
    (tmp_path / folder).mkdir()
    options = [] if folder.startswith("project") else ["--workspace", "../project"]
    result = python(tmp_path / folder, "-m", "pipeline.orchestration.lock", *options)
    assert result.returncode == 0, result.stderr
    assert "torch" in json.loads(workspace.versions.read_text())
    assert list((tmp_path / folder).iterdir()) == []


def test_the_mlflow_store_is_that_of_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    track = ["-m", "pipeline", "--workspace", "project", "track"]
    shutil.copytree(PROJECT / "reports/backprop", workspace.backprop_reports)
    result = python(tmp_path, *track, "backprop", MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    assert result.stdout.startswith("backprop: published"), result.stderr
    assert (workspace.root / "mlflow.db").exists()
    assert list(tmp_path.iterdir()) == [workspace.root]


@pytest.mark.parametrize(
    ("arguments", "status"), [(["backprop"], 2), (["backprop", "--help"], 0), (["train", "-h"], 0)]
)
def test_a_command_that_runs_no_stage_creates_no_lock_file(
    arguments: list[str], status: int, tmp_path: Path
) -> None:
    assert python(tmp_path, "-m", "pipeline", *arguments).returncode == status
    assert list(tmp_path.iterdir()) == []
