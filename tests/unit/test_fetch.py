"""fetch from folders: each file comes from the first folder with the correct one."""

import os
import re
from pathlib import Path

import pytest

from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT
from tests.mirrors import CONTENT, FIRST, fetched, fill, run


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the files in mirror/ and second/."""
    for mirror in ("mirror", "second"):
        fill(tmp_path / mirror)
    return Workspace(tmp_path)


@pytest.mark.parametrize("mirror", ["~/mirror", "file://{}/mirror", "FILE://localhost{}/mir%72or"])
def test_folders_can_be_home_paths_or_file_urls(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("HOME", str(workspace.root))
    run(workspace, mirror.format(workspace.root))
    assert fetched(workspace) == CONTENT


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("s3://bucket/mnist", "s3:// is not supported"),
        ("ftp://host/mnist", "ftp:// is not supported"),
        ("file://server/mnist", "another machine"),
        ("~nobody-of-this-name/mnist", "no such user"),
        ("mirror" * 1000, "File name too long"),
        ("http://127.0.0.1:99999", r"URL|port"),
    ],
    ids=lambda text: text[:20],
)
def test_an_unsupported_mirror_is_refused_with_the_reason(
    workspace: Workspace, mirror: str, reason: str
) -> None:
    """Not with a misleading `no such folder`."""
    with pytest.raises(UserError, match=f"{mirror}: .*{reason}"):
        run(workspace, mirror)


def test_a_pipe_in_a_mirror_does_not_block(workspace: Workspace) -> None:
    (workspace.root / "mirror" / FIRST).unlink()
    os.mkfifo(workspace.root / "mirror" / FIRST)
    with pytest.raises(UserError, match="mirror: not a regular file"):
        run(workspace, "mirror")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("no folder", "no such folder"), ("no file", "No such file"), ("bit flip", "corrupt")],
)
def test_a_folder_without_the_correct_file_is_skipped(
    workspace: Workspace, fault: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = workspace.root / "mirror" / FIRST
    if fault == "no folder":
        (workspace.root / "mirror").rename(workspace.root / "elsewhere")
    elif fault == "no file":
        copy.unlink()
    else:
        copy.write_bytes(CONTENT[FIRST][:-1] + b"?")
    run(workspace, "mirror", "second")
    assert fetched(workspace) == CONTENT
    assert re.match(f"{FIRST}: .* mirror: .*{reason}", capfd.readouterr().err)


def test_a_local_mirror_avoids_the_network(workspace: Workspace) -> None:
    run(workspace, "nowhere", "mirror", "http://127.0.0.1:9/")
    assert fetched(workspace) == CONTENT


def test_the_public_mirrors_use_https() -> None:
    mirrors = load_params(PROJECT / "params.yaml").fetch.mirrors
    assert all(mirror.startswith("https://") for mirror in mirrors[1:])
