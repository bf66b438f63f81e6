"""Attacks on a service with a trusted key: by people who can write to models/."""

import json
import shutil
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


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def workspace(tmp_path: Path, keys: tuple[Path, Path]) -> Workspace:
    """A workspace with a signed champion."""
    workspace = make_workspace(tmp_path)
    sign(make_release(workspace, 0).folder, keys[0])
    return workspace


class Process:
    """A process of a service that follows the workspace and trusts a public key."""

    def __init__(self, workspace: Workspace, key: Path) -> None:
        rows = np.zeros(1, ROW)
        rows["serving"][0] = True
        model, source = open_model(None, workspace, (key,))
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


def test_the_signature_of_another_release_does_not_count(
    workspace: Workspace, keys: tuple[Path, Path]
) -> None:
    process = Process(workspace, keys[1])
    shutil.copy(workspace.releases / "1" / SIGNATURE, make_release(workspace, 1).folder)
    process.follower.check()
    assert process.pool.champion.release == 1
    assert process.refused() == 1
