"""The git revision recorded in a result is the one that made it, or unknown with a warning."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core import environment

AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder outside any repository, with no warning issued yet."""
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


def test_the_revision_is_the_commit_marked_dirty_if_code_differs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "params.yaml").write_text("train: 1\n")
    revision = commit(folder)
    (folder / "note.txt").write_text("no code\n")
    assert environment.git_revision(folder, "shapes") == revision
    (folder / "params.yaml").write_text("train: 2\n")
    assert environment.git_revision(folder, "shapes") == f"{revision}-dirty"
    revision = commit(folder)
    (folder / "shapes").mkdir()
    (folder / "shapes/network.py").write_text("layers = 2\n")
    assert environment.git_revision(folder, "pipeline.mnist") == revision
    assert environment.git_revision(folder, "shapes") == f"{revision}-dirty"
    assert capsys.readouterr().err == ""


def test_without_a_repository_the_revision_is_unknown_without_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment.git_revision(folder, "shapes") == "unknown"
    assert capsys.readouterr().err == ""


def test_an_unpacked_archive_ignores_the_repository_around_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".gitignore").write_text("/archive/\n")
    commit(folder)
    (folder / "archive").mkdir()
    (folder / "archive/params.yaml").write_text("train: 1\n")
    assert environment.git_revision(folder / "archive", "shapes") == "unknown"
    assert capsys.readouterr().err.startswith("warning: the git revision is unknown: ")


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
def test_an_unknown_revision_is_warned_of_once(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    words: str,
) -> None:
    """The released model records the revision, so the warning must come earlier."""
    fault(folder, monkeypatch)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    for _ in range(3):  # each epoch requests it
        assert environment.git_revision(folder, "shapes") == "unknown"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the git revision is unknown: ")
    assert words in line
