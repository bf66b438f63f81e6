"""A workspace with small sets and short recipes, for training within a test."""

from pathlib import Path

import yaml
from safetensors.numpy import save_file

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
