"""Real MNIST is decoded to the expected bytes and to the same arrays as torchvision's."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from torchvision.datasets import MNIST

from pipeline.config import load_params
from pipeline.core.files import sha256
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.stages import prepare
from tests.checkout import PROJECT

# of data/train.safetensors
TRAINING_SHA256 = "cf2f607c5ed237b97e3bb697d2679ed5d5987e3e9486bbc6fe4dedd6cb7cd8cd"


def test_real_mnist_has_the_digest_of_the_gate_and_matches_torchvision(tmp_path: Path) -> None:
    params = load_params(PROJECT / "params.yaml")
    mirrors = [PROJECT / mirror for mirror in params.fetch.mirrors]
    found = [m for m in mirrors if all((m / name).is_file() for name in params.fetch.files)]
    if not found:
        pytest.skip("no folder in fetch.mirrors of params.yaml has MNIST")
    workspace = Workspace(tmp_path)
    workspace.raw.parent.mkdir()
    workspace.raw.symlink_to(found[0].resolve())
    prepare.run(workspace, params.prepare, TASK)
    digests = [sha256(path) for path in (workspace.training_set, workspace.test_set)]
    assert digests == [TRAINING_SHA256, params.gate.test_sha256]

    theirs = tmp_path / "MNIST" / "raw"
    theirs.mkdir(parents=True)
    for name, _ in MNIST.resources:
        content = gzip.decompress((workspace.raw / name).read_bytes())
        (theirs / name).with_suffix("").write_bytes(content)
    training, test = (
        LabelledImages(data.data.numpy(), data.targets.numpy().astype(np.uint8))
        for data in (MNIST(tmp_path, train=is_training) for is_training in (True, False))
    )
    rest, drawn = prepare.split(training, params.prepare.calibration_images)
    for path, reference in (
        (workspace.training_set, rest),
        (workspace.calibration_set, drawn),
        (workspace.test_set, test),
    ):
        ours = load_file(path)
        np.testing.assert_array_equal(ours["images"], reference.images, strict=True)
        np.testing.assert_array_equal(ours["labels"], reference.labels, strict=True)
