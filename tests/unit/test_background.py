"""Background tracking: where it runs, and how little a stage prints without MLflow."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.core.workspace import Workspace
from pipeline.tracking import background


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each start of the publisher, which exits successfully at once."""
    calls: list[dict[str, Any]] = []

    class Publisher:
        """A publisher without work."""

        def __init__(self, command: list[str], **options: Any) -> None:
            calls.append({"command": command} | options)
            self.stdin = Path(os.devnull).open("wb")  # noqa: SIM115 (closed as the real one is)

        def wait(self, seconds: float = 0) -> int:
            return 0

        def kill(self) -> None:
            """Do nothing."""

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(subprocess, "Popen", Publisher)
    return calls


def test_the_publisher_runs_in_the_workspace_with_the_stages_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[dict[str, Any]]
) -> None:
    """Not in the current folder, where it might import or change the user's files."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project/params.yaml").touch()
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    monkeypatch.syspath_prepend("relative")
    background.publish(Workspace(Path("../project")))
    (call,) = started
    assert Path(call["cwd"]).samefile(tmp_path / "project")
    named = call["command"][call["command"].index("--workspace") + 1]
    assert (Path(call["cwd"]) / named).samefile(tmp_path / "project")
    modules = call["env"]["PYTHONPATH"].split(os.pathsep)
    assert str(Path(pipeline.__file__).parents[1]) in modules
    assert str(tmp_path / "user/relative") in modules


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:5000"])
@pytest.mark.parametrize("run", [background.publishing, background.following])
def test_without_mlflow_a_stage_prints_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    started: list[dict[str, Any]],
    uri: str | None,
    run: Any,
) -> None:
    """The extra `train` does not include MLflow."""
    monkeypatch.setattr(background, "find_spec", lambda name: None)
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with run(Workspace(tmp_path)):
        pass
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert started == []


def test_with_tracking_off_nothing_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    started: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(background, "find_spec", lambda name: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    background.publish(Workspace(tmp_path))
    assert (capsys.readouterr(), started) == (("", ""), [])
