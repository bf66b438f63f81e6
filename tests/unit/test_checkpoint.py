"""The resume file restores what was saved, or the error says why training cannot resume from it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.training.checkpoint import Checkpoint, CheckpointError
from pipeline.training.trainer import Epoch

IDENTITY: dict[str, Any] = {"params": {"dropout": (0.1, 0.2)}, "data_sha256": "d", "threads": 2}


def epoch(number: int) -> Epoch:
    """An epoch whose tensors contain its number."""
    return Epoch(
        number,
        {"epoch": number, "training_loss": 1 / number},
        {"0.weight": torch.full((2, 3), float(number)), "1.steps": torch.tensor(number)},
        {"epoch": torch.tensor(number), "momentum.0": torch.full((2,), 10.0 * number)},
    )


def checkpoint(epochs: int) -> Checkpoint:
    made = Checkpoint(IDENTITY, run_id="a" * 32, started="2026-01-02T03:04:05.678+00:00")
    for number in range(1, epochs + 1):
        made.add(epoch(number), {"system/load": 100.0 * number})
    return made


@pytest.mark.parametrize("epochs", [1, 12])
def test_a_saved_checkpoint_loads_unchanged(tmp_path: Path, epochs: int) -> None:
    """Sorted by name, epoch 10 comes before epoch 2."""
    path = tmp_path / "new" / "resume.safetensors"
    checkpoint(epochs).save(path)
    found = Checkpoint.load(path, IDENTITY)
    assert (found.run_id, found.started) == ("a" * 32, "2026-01-02T03:04:05.678+00:00")
    assert found.history == [{"epoch": n, "training_loss": 1 / n} for n in range(1, epochs + 1)]
    assert found.system == [{"system/load": 100.0 * n} for n in range(1, epochs + 1)]
    assert len(found.weights) == epochs
    for number, weights in enumerate(found.weights, start=1):
        expected = epoch(number).weights
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    state = epoch(epochs).state
    assert found.state is not None
    assert found.state.keys() == state.keys()
    assert all(torch.equal(found.state[name], state[name]) for name in state)


def test_a_loaded_checkpoint_accepts_further_epochs(tmp_path: Path) -> None:
    path = tmp_path / "resume.safetensors"
    checkpoint(1).save(path)
    found = Checkpoint.load(path, IDENTITY)
    found.add(epoch(2), {"system/load": 200.0})
    found.save(path)
    assert Checkpoint.load(path, IDENTITY).history == checkpoint(2).history


def test_a_checkpoint_of_another_run_is_refused_with_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "resume.safetensors"
    checkpoint(1).save(path)
    other = {"params": {"dropout": (0.1, 0.3)}, "threads": 2, "versions": {}}
    with pytest.raises(CheckpointError, match=r"\bdata_sha256, params, versions\b"):
        Checkpoint.load(path, other)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def without_header(path: Path) -> None:
    save_file({"state/epoch": torch.tensor(1)}, path)


def foreign(path: Path) -> None:
    save_file({"weight": torch.tensor(1)}, path, {"header": "{}"})


def without_weights(path: Path) -> None:
    made = checkpoint(2)
    made.weights.pop()
    made.save(path)


@pytest.mark.parametrize("damage", [truncated, without_header, foreign, without_weights])
def test_a_damaged_or_foreign_file_is_reported(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "resume.safetensors"
    checkpoint(2).save(path)
    damage(path)
    with pytest.raises(CheckpointError, match="it cannot be read: "):
        Checkpoint.load(path, IDENTITY)
