"""The service changes its model under load, as a real server of several processes."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import tritonclient.http as triton

from benchmarks.service.checked_load import Checked, CheckedLoad
from pipeline.core.variables import ADMIN_TOKEN
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.registry import acts
from pipeline.registry.releases import Release, Releases
from tests.releases import golden_images, make_release, make_workspace
from tests.servers import wait_until
from tests.services import metric, serving

ADMIN = "0nly-for-admins"
OPTIONS = ("--workers=2", "--follow=0.1", "--json-log")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with three releases; the third is the champion."""
    workspace = make_workspace(tmp_path / "workspace")
    for variation in range(3):
        make_release(workspace, variation)
    return workspace


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@contextmanager
def posting(address: str, workspace: Workspace) -> Iterator[Checked]:
    """Eight connections post images during the block; their answers are compared."""
    releases = Releases.of(workspace).all.values()
    models = [Classifier(release.model, threads=1) for release in releases]
    load = CheckedLoad(port_of(address), golden_images(), models)
    thread = threading.Thread(target=lambda: asyncio.run(load.run(8)))
    thread.start()
    try:
        yield load.seen
    finally:
        load.stop()
        thread.join()


def read(address: str) -> str:
    return httpx.get(f"{address}/metrics", timeout=30).text


def follows(address: str, number: int, processes: int = 2) -> None:
    """Wait until this release is the champion in all processes."""
    wait_until(
        lambda: metric(read(address), "model_champion", release=str(number)) == processes, 60
    )


def promote(workspace: Workspace, number: int) -> Release:
    return acts.promote(workspace, number, "test")


def test_every_answer_during_swaps_is_that_of_the_version_it_names(
    workspace: Workspace, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with serving(log, *OPTIONS, workspace=workspace) as (_, address):
        with posting(address, workspace) as seen:
            for number in (1, 2, 3, 2, 1):
                promote(workspace, number)
                follows(address, number)
            bad = workspace.releases / "3" / "curves.png"
            bad.write_bytes(b"not the curves of this model")
            workspace.pointer.write_text(
                workspace.pointer.read_text()
                .replace(Releases.of(workspace).all[1].sha256, Releases.of(workspace).all[3].sha256)
                .replace('"release": 1', '"release": 3')
            )
            wait_until(lambda: metric(read(address), "model_loads_total", reason="checksum") == 2)
            follows(address, 1)
        assert not seen.errors
        assert len(seen.answers) == 3
        assert metric(read(address), "model_loads_total", result="loaded") == 2 * 5
    assert log.read_text().count(" replaces ") == 2 * 5
    assert log.read_text().count('"reason":"checksum"') == 2


def test_a_process_killed_in_a_swap_is_replaced_by_one_with_a_whole_model(
    workspace: Workspace, tmp_path: Path
) -> None:
    with serving(tmp_path / "log", *OPTIONS, workspace=workspace) as (process, address):
        with posting(address, workspace) as seen:
            for number in (1, 2, 3):
                before = psutil.Process(process.pid).children()
                promote(workspace, number)
                os.kill(before[-1].pid, signal.SIGKILL)
                follows(address, number)
        lost = ("ConnectionResetError", "IncompleteReadError", "BrokenPipeError")
        assert [error for error in seen.errors if not error.startswith(lost)] == []
        promote(workspace, 1)
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
    with serving(tmp_path / "again", *OPTIONS, workspace=workspace) as (_, address):
        follows(address, 1)
        with posting(address, workspace) as seen:
            wait_until(lambda: len(seen.seconds) > 100)
        assert not seen.errors
        assert list(seen.answers) == [Releases.of(workspace).all[1].version]


def test_tritons_client_loads_and_unloads_in_all_processes(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADMIN_TOKEN.name, ADMIN)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    config = '{"version_policy": {"specific": {"versions": [1]}}}'

    def ready() -> list[bool]:
        """As several new connections see it, which reach either process."""
        found = []
        for _ in range(10):
            with triton.InferenceServerClient(f"127.0.0.1:{port_of(address)}") as other:
                found.append(other.is_model_ready("mnist-cnn", "1"))
        return found

    with (
        serving(tmp_path / "log", "--workers=2", "--follow=0", workspace=workspace) as (_, address),
        triton.InferenceServerClient(f"127.0.0.1:{port_of(address)}") as client,
    ):
        with pytest.raises(triton.InferenceServerException):
            client.load_model("mnist-cnn")
        assert not any(ready())
        client.load_model("mnist-cnn", headers=headers, config=config)
        assert all(ready())
        index: Any = client.get_model_repository_index()
        roles = {model["release"]: model["role"] for model in index}
        assert roles == {3: "champion", 1: "loaded", 2: None}
        client.unload_model("mnist-cnn", headers=headers)
        assert not any(ready())
        acts.rollback(workspace)
        client.load_model("mnist-cnn", headers=headers)
        follows(address, 2)
