"""Files on full, read-only, or mounted disks, and in other locales."""

import errno
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config import Fetch, Prepare
from pipeline.core.files import sha256
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace
from pipeline.registry import acts
from pipeline.stages import fetch, prepare
from tests.checkout import PROJECT, python
from tests.digits import write_mirror
from tests.folders import content
from tests.releases import make_release

TRAINING, TEST = 2000, 500  # images
FIRST = "train-images-idx3-ubyte.gz"


@pytest.fixture
def mounted() -> Iterator[Callable[..., None]]:
    """Call `mount` and unmount when the test ends; skip the test if mounting is not permitted."""
    folders: list[str] = []

    def mount(*arguments: str | Path) -> None:
        command = ["mount", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            pytest.skip(f"mounting is not permitted: {result.stderr.strip()}")
        folders.append(str(arguments[-1]))

    yield mount
    for folder in reversed(folders):
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "in a read-only folder"])
def test_releases_in_a_mount_point(kind: str, tmp_path: Path, mounted: Callable[..., None]) -> None:
    """Containers mount models/, and a release must not fail there after hours of training."""
    workspace = Workspace(tmp_path / "place")
    for folder in (workspace.models, workspace.model.parent, tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    if kind == "in a read-only folder":
        mounted("--bind", workspace.root, workspace.root)
    if kind == "bind":
        mounted("--bind", tmp_path / "elsewhere", workspace.models)
    else:
        mounted("-t", "tmpfs", "none", workspace.models)
    if kind == "in a read-only folder":
        mounted("-t", "tmpfs", "none", workspace.model.parent)
        subprocess.run(["mount", "-o", "remount,bind,ro", workspace.root], check=True)
    workspace.require_writable()
    old, new = make_release(workspace, 0), make_release(workspace, 1)
    assert sha256(workspace.released_model) == new.sha256
    acts.rollback(workspace)
    assert sha256(workspace.released_model) == old.sha256


def test_a_folder_where_no_release_can_be_written_is_an_error_before_the_training(
    tmp_path: Path, mounted: Callable[..., None]
) -> None:
    workspace = Workspace(tmp_path)
    workspace.models.mkdir()
    mounted("-t", "tmpfs", "-o", "ro", "none", workspace.models)
    with pytest.raises(OSError, match="Read-only"):
        workspace.require_writable()


def test_reports_are_read_as_utf_8_in_every_locale(tmp_path: Path) -> None:
    """Python falls back to ASCII under cron and in containers that set no locale."""
    (tmp_path / "report.json").write_text('"28 × 28"', encoding="utf-8")
    (tmp_path / "table.csv").write_text("η\n1\n", encoding="utf-8")
    program = """
from pathlib import Path
from pipeline.core import files
print(ascii([files.read_json(Path("report.json")), files.read_csv(Path("table.csv"))]))
"""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = python(tmp_path, "-c", program, **locale)
    assert result.stdout == ascii(["28 × 28", [{"η": 1.0}]]) + "\n", result.stderr


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with an empty data/."""
    (tmp_path / "project/data").mkdir(parents=True)
    return Workspace(tmp_path / "project")


def run_fetch(workspace: Workspace, mirror: str) -> None:
    digests = write_mirror(workspace.root / "mirror", TRAINING, TEST)
    limits = {"timeout": 10.0, "time_limit": 60.0, "retries": 1, "backoff": 0.0}
    fetch.run(workspace, Fetch.model_validate({"mirrors": [mirror], "files": digests, **limits}))


def run_prepare(workspace: Workspace) -> None:
    params = Prepare(training_images=TRAINING, calibration_images=5, test_images=TEST)
    prepare.run(workspace, params, load_task("pipeline/mnist", PROJECT))


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of an HTTP server for a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("source", ["folder", "web"])
def test_fetch_on_a_full_disk_is_an_error_and_leaves_no_partial_file(
    source: str, workspace: Workspace, mounted: Callable[..., None]
) -> None:
    data = workspace.raw.parent
    mounted("-t", "tmpfs", "-o", "size=64k", "none", data)
    with (
        serving(workspace.root / "mirror") as url,
        pytest.raises(OSError, match="No space left") as full,
    ):
        run_fetch(workspace, "mirror" if source == "folder" else url)
    assert full.value.errno == errno.ENOSPC
    assert full.value.filename == str(workspace.raw / FIRST)
    assert content(data) == {}


def test_prepare_on_a_full_disk_is_an_error_and_leaves_no_partial_file(
    workspace: Workspace, mounted: Callable[..., None]
) -> None:
    data = workspace.raw.parent
    mounted(
        "-t", "tmpfs", "-o", "size=1m", "none", data
    )  # fits the compressed files, not the images
    run_fetch(workspace, "mirror")
    before = content(data)
    with pytest.raises(OSError, match="No space left") as full:
        run_prepare(workspace)
    assert full.value.filename == str(workspace.training_set)
    assert content(data) == before


def test_an_error_names_the_read_only_output_folder(
    workspace: Workspace, mounted: Callable[..., None]
) -> None:
    data = workspace.raw.parent
    mounted("-t", "tmpfs", "-o", "size=8m", "none", data)
    run_fetch(workspace, "mirror")
    before = content(data)
    subprocess.run(["mount", "-o", "remount,ro", data], check=True)
    for stage, output in (
        (partial(run_fetch, mirror="mirror"), workspace.raw / FIRST),
        (run_prepare, workspace.training_set),
    ):
        with pytest.raises(OSError, match="Read-only file system") as refused:
            stage(workspace)
        assert Path(refused.value.filename).parent == output.parent
    assert content(data) == before
