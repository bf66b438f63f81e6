"""What a result says of where it came from: the git revision, and addresses without secrets."""

import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.core import environment

AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of no repository, the current one; each warning is new in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    environment._warn_once.cache_clear()
    return tmp_path


def commit(folder: Path) -> str:
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        [*AUTHOR, "commit", "--quiet", "--allow-empty", "--message", "all"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(head, cwd=folder, check=True, capture_output=True, text=True).stdout[:-1]


def test_the_revision_is_the_commit_and_says_what_differs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "params.yaml").write_text("train: 1\n")
    revision = commit(folder)
    (folder / "note.txt").write_text("no code\n")
    assert environment.git_revision() == revision
    (folder / "params.yaml").write_text("train: 2\n")
    assert environment.git_revision() == f"{revision}-dirty"
    assert capsys.readouterr().err == ""


def test_without_a_repository_the_revision_is_unknown_without_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment.git_revision() == "unknown"
    assert capsys.readouterr().err == ""


def test_a_commit_of_the_repository_around_an_unpacked_archive_is_not_its_revision(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".gitignore").write_text("/archive/\n")
    commit(folder)
    (folder / "archive").mkdir()
    (folder / "archive/params.yaml").write_text("train: 1\n")
    monkeypatch.chdir(folder / "archive")
    assert environment.git_revision() == "unknown"
    assert "not of the repository around them" in capsys.readouterr().err


def belongs_to_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(folder)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def is_a_worktree_without_its_history(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").write_text("gitdir: /elsewhere/.git/worktrees/this\n")


def has_no_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def has_a_broken_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(folder)
    (folder / ".git/index").write_text("nonsense")


def has_lost_its_head(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(folder)
    (folder / ".git/HEAD").write_text("")


def has_no_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(folder)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (belongs_to_another, "fatal: detected dubious ownership in repository"),
        (is_a_worktree_without_its_history, "/elsewhere/.git/worktrees/this"),
        (has_no_commit, "fatal: "),
        (has_a_broken_index, "index"),
        (has_lost_its_head, "not a git repository"),
        (has_no_git, "git is not installed"),
    ],
)
def test_a_revision_that_git_does_not_tell_is_warned_of_once(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    words: str,
) -> None:
    """It goes into the released file: nobody should find out there."""
    fault(folder, monkeypatch)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert [environment.git_revision() for _ in range(3)] == ["unknown"] * 3  # as each epoch does
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the git revision is unknown: ")
    assert words in line


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://user:secret@host/mlflow/", "https://host/mlflow"),
        ("https://user:sec@ret@host", "https://host"),
        ("https://token@host:8443/", "https://host:8443"),
        ("postgresql+psycopg2://user:secret@host/mlflow", "postgresql+psycopg2://host/mlflow"),
        ("http://user:secret@[bad", "http://[bad"),
        ("http://host/@name", "http://host/@name"),
        ("mlruns", "mlruns"),
    ],
)
def test_an_address_is_shown_as_it_is_but_for_its_password(address: str, shown: str) -> None:
    assert environment.without_password(address) == shown


def test_an_experiment_in_a_copy_knows_the_folder_that_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = folder / "main"
    copy = main / ".dvc/tmp/exps/tmp1"
    for place in (main / ".dvc", copy / ".dvc", copy / "sub", main / "sub"):
        place.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(main))  # which `dvc repro` sets as well
    assert environment.lasting_folder() == copy
    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    assert environment.experiment() == "sour-kiln"
    assert environment.lasting_folder() == main
    monkeypatch.chdir(copy / "sub")
    assert environment.lasting_folder() == main / "sub"
    monkeypatch.chdir(main)  # `dvc exp run` without a copy
    assert environment.lasting_folder() == main


def test_the_hardware_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=15.6 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    found = environment.hardware()
    assert (found["cores"], found["memory_gib"]) == (os.cpu_count(), 16)
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    monkeypatch.setattr(psutil, "cpu_count", lambda: None)  # as in some sandboxes
    assert environment.hardware()["cores"] == 1


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast: 3 GHz \nmodel name\t: Slow\n", "Fast: 3 GHz"),
        ("processor\t: 0\n", platform.processor() or platform.machine()),  # as on ARM
        (None, platform.processor() or platform.machine()),  # as on macOS
    ],
)
def test_the_processor_has_the_name_that_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, name: str
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(environment, "Path", lambda _: path)
    assert environment.hardware()["processor"] == name


def test_the_versions_are_those_of_the_libraries_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "LIBRARIES", ["numpy", "no-such-library", "torch"])
    assert environment.versions() == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
    }


def test_a_flow_run_is_known_by_its_id_and_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_FLOW_RUN_ID", raising=False)
    monkeypatch.delenv("PIPELINE_FLOW_RUN_URL", raising=False)
    assert environment.flow_run() is None
    monkeypatch.setenv("PIPELINE_FLOW_RUN_ID", "1234")
    assert environment.flow_run() is None
    monkeypatch.setenv("PIPELINE_FLOW_RUN_URL", "http://prefect/runs/1234")
    assert environment.flow_run() == {"id": "1234", "url": "http://prefect/runs/1234"}
