"""A workspace with small sets and short recipes, for training within a test."""

from pathlib import Path

import yaml
from safetensors.numpy import load_file, save_file

from pipeline.collection.known import KnownImages
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT
from tests.digits import make_digits

TRAINING, TEST = 600, 200  # images


def small_workspace(folder: Path, training: int = TRAINING) -> Workspace:
    """Create params.yaml, params.fast.yaml and both sets in `folder`; `training`: images."""
    workspace = Workspace(folder)
    workspace.training_set.parent.mkdir()
    for path, count, seed in (
        (workspace.training_set, training, 1),
        (workspace.test_set, TEST, 2),
    ):
        images, labels = make_digits(count, seed)
        save_file({"images": images, "labels": labels}, path)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["train"] |= {"epochs": 2, "batch_size": 50, "precision": "float32"}
    workspace.params.write_text(yaml.safe_dump(params))
    (folder / "params.fast.yaml").write_text("train: {epochs: 1}\n")
    return workspace


def collecting_workspace(folder: Path) -> Workspace:
    """A small workspace, ready for the stage `collect` to read the journal in its folder journal.

    Images of printed digits resemble each other, so only equal images are copies.
    """
    workspace = small_workspace(folder)
    images, labels = make_digits(50, seed=4)
    save_file({"images": images, "labels": labels}, workspace.calibration_set)
    KnownImages.of(load_file(workspace.test_set)["images"]).write(workspace.test_hashes)
    set_journal(workspace, "journal")
    return workspace


def set_journal(workspace: Workspace, name: str) -> None:
    """Let the stage `collect` read the journal in this folder of the workspace."""
    params = yaml.safe_load(workspace.params.read_text())
    params["collect"] |= {"journal": name, "near": 0}
    workspace.params.write_text(yaml.safe_dump(params))
