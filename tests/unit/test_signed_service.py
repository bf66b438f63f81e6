"""A service with trusted keys: what they have not signed is refused, and the old model goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.core.workspace import Workspace
from pipeline.inference.trust import SIGNATURE
from pipeline.registry import acts
from pipeline.registry.folder import SUMS, Release
from pipeline.registry.keys import make_keys
from pipeline.registry.signing import sign
from pipeline.service.following import Follower
from pipeline.service.metrics import Metrics
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool
from pipeline.service.shared import ROW
from pipeline.service.sources import open_model
from tests.releases import make_release, make_workspace
from tests.services import metric

Change = Callable[[Release], object]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("other"))


@pytest.fixture
def workspace(tmp_path: Path, keys: tuple[Path, Path]) -> Workspace:
    """A workspace with a signed champion."""
    workspace = make_workspace(tmp_path)
    sign(make_release(workspace, 0).folder, keys[0])
    return workspace


class Process:
    """A process of a service that follows the workspace and trusts these public keys."""

    def __init__(self, workspace: Workspace, *trust: Path) -> None:
        rows = np.zeros(1, ROW)
        rows["serving"][0] = True
        model, source = open_model(None, workspace, trust)
        assert source is not None
        self.pool = ModelPool(model)
        self.metrics = Metrics(self.pool, [], rows["metrics"], 0)
        orders = Orders(rows["orders"], rows["serving"], 0)
        self.follower = Follower(self.pool, self.metrics, orders, source)

    def refused(self) -> float:
        """How many models were refused for their signature."""
        return metric(
            self.metrics.text().decode(), "model_loads_total", result="refused", reason="signature"
        )


def test_a_signed_release_replaces_the_champion(
    workspace: Workspace, keys: tuple[Path, Path], other: tuple[Path, Path]
) -> None:
    process = Process(workspace, other[1], keys[1])
    sign(make_release(workspace, 1).folder, keys[0])
    process.follower.check()
    assert process.pool.champion.release == 2
    sign(make_release(workspace, 2).folder, other[0])
    process.follower.check()
    assert process.pool.champion.release == 3
    assert process.refused() == 0


def cover(release: Release, name: str) -> None:
    """Change a byte of a file as an attacker does: with its checksums and, if need be, pointer."""
    path = release.folder / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    if name != SUMS:
        (release.folder / SUMS).unlink()
        (release.folder / SIGNATURE).rename(release.folder.parent / SIGNATURE)
        acts.seal(release.folder)
        (release.folder.parent / SIGNATURE).rename(release.folder / SIGNATURE)
    if path == release.model:
        lines = (line.split() for line in (release.folder / SUMS).read_text().splitlines())
        sums = {name: digest for digest, name in lines}
        pointer = release.folder.parents[1] / "release.json"
        write_json(pointer, json.loads(pointer.read_text()) | {"sha256": sums[name]})


COVERED = ["mnist-cnn.onnx", "providers.json", "golden.json", "metrics.json", "curves.png"]


@pytest.mark.parametrize("name", COVERED)
def test_a_changed_file_is_refused_even_with_its_checksum(
    workspace: Workspace, keys: tuple[Path, Path], name: str
) -> None:
    process = Process(workspace, keys[1])
    release = make_release(workspace, 1)
    sign(release.folder, keys[0])
    cover(release, name)
    process.follower.check()
    assert process.pool.champion.release == 1
    assert process.refused() == 1
    with pytest.raises(UserError, match="signed"):
        Process(workspace, keys[1])


def unsigned(release: Release) -> None:
    (release.folder / SIGNATURE).unlink()


def signature_of_another(release: Release) -> None:
    shutil.copy(release.folder.parent / "1" / SIGNATURE, release.folder)


@pytest.mark.parametrize("change", [unsigned, signature_of_another])
def test_a_release_without_its_signature_is_refused(
    workspace: Workspace, keys: tuple[Path, Path], change: Change
) -> None:
    process = Process(workspace, keys[1])
    release = make_release(workspace, 1)
    sign(release.folder, keys[0])
    change(release)
    process.follower.check()
    assert process.pool.champion.release == 1
    assert process.refused() == 1
    Process(workspace).follower.check()  # without keys, it is served


def test_a_release_signed_with_another_key_is_refused(
    workspace: Workspace, keys: tuple[Path, Path], other: tuple[Path, Path]
) -> None:
    process = Process(workspace, keys[1])
    sign(make_release(workspace, 1).folder, other[0])
    process.follower.check()
    assert process.pool.champion.release == 1
    assert process.refused() == 1


def test_a_release_that_is_signed_later_is_tried_again(
    workspace: Workspace, keys: tuple[Path, Path]
) -> None:
    process = Process(workspace, keys[1])
    release = make_release(workspace, 1)
    process.follower.check()
    assert process.pool.champion.release == 1
    sign(release.folder, keys[0])
    process.follower.check()
    assert process.pool.champion.release == 2
