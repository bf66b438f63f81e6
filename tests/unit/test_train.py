"""The stage `train`: its outputs, and the resume files that it accepts."""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save

from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, sha256
from pipeline.core.reports import FlowRun, TrainingReport
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.stages import train as stage
from pipeline.training import trainer
from pipeline.training.recipe import Recipe
from tests.digits import make_digits
from tests.unit.test_recipe import RECIPE as SHORT

RECIPE = replace(SHORT, epochs=3)


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_training_set(tmp_path)


def with_training_set(folder: Path) -> Workspace:
    """A workspace with a training set and a lock, and nothing else."""
    workspace = Workspace(folder)
    workspace.requirements.write_text("torch==1\n")
    workspace.training_set.parent.mkdir()
    images, labels = make_digits(32, seed=1)
    save_file({"images": images, "labels": labels}, workspace.training_set)
    return workspace


def train(workspace: Workspace, recipe: Recipe = RECIPE) -> str:
    """Run the stage; returns the digest of the weights."""
    stage.run(workspace, recipe, TASK)
    return sha256(workspace.weights)


def collect(workspace: Workspace, count: int) -> None:
    """Write so many collected images."""
    images, labels = (part[:count] for part in make_digits(8, seed=5))
    weights: Any = np.full(count, 2, np.int64)
    save_file({"images": images, "labels": labels, "weights": weights}, workspace.feedback)


@pytest.fixture(scope="module")
def uninterrupted() -> str:
    """The digest of the weights of an uninterrupted training."""
    images, labels = map(torch.from_numpy, make_digits(32, seed=1))
    *_, last = trainer.train(TASK, images, labels, RECIPE)
    return hashlib.sha256(save(last.weights)).hexdigest()


def interrupt(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a training after its first epoch, leaving its resume file."""

    def stop(bar: object, figures: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage.ProgressBar, "on_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            stage.run(workspace, RECIPE, TASK)
    assert workspace.checkpoint.exists()


def test_a_flow_run_resumes_a_manually_started_training(
    workspace: Workspace,
    uninterrupted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt(workspace, monkeypatch)
    url = "http://127.0.0.1:4200/runs/flow-run/0199-4a"
    monkeypatch.setenv("PIPELINE_FLOW_RUN_ID", "0199-4a")
    monkeypatch.setenv("PIPELINE_FLOW_RUN_URL", url)
    assert train(workspace) == uninterrupted
    assert "resuming after epoch 1" in capsys.readouterr().out
    report = TrainingReport.read(workspace.training_report)
    assert report.flow_run == FlowRun(id="0199-4a", url=url)
    assert not workspace.checkpoint.exists()


@pytest.mark.parametrize("change", ["seed", "label", "collected", "code", "noise", "cut off"])
def test_a_foreign_or_damaged_resume_file_is_ignored_with_a_message(
    workspace: Workspace,
    uninterrupted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    interrupt(workspace, monkeypatch)
    recipe, file = RECIPE, workspace.checkpoint
    if change == "seed":
        recipe = replace(recipe, seed=4)
    elif change == "label":
        data = workspace.training_set.read_bytes()
        workspace.training_set.write_bytes(data[:-1] + bytes([(data[-1] + 1) % 10]))
    elif change == "collected":
        collect(workspace, 1)
    elif change == "code":
        monkeypatch.setattr(stage, "code_digests", lambda task: {"pipeline/x.py": "0"})
    elif change == "noise":
        file.write_bytes(os.urandom(5000))
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    weights = train(workspace, recipe)
    reason = {
        "seed": "params",
        "label": "data_sha256",
        "collected": "feedback_sha256",
        "code": "code_sha256",
    }
    printed = capsys.readouterr().out
    assert re.search(rf"{file}.*\b{reason.get(change, 'cannot be read')}\b", printed)
    assert "resuming" not in printed
    assert (weights == uninterrupted) == (change in ("code", "noise", "cut off"))
    assert len(list(workspace.epochs.iterdir())) == 3


def test_the_report_records_inputs_and_results(workspace: Workspace) -> None:
    weights = train(workspace)
    report = TrainingReport.read(workspace.training_report)
    assert (report.status, report.task, report.flow_run) == ("finished", "pipeline.mnist", None)
    assert report.weights_sha256 == weights
    assert report.data_sha256 == sha256(workspace.training_set)
    assert report.requirements_sha256 == sha256(workspace.requirements)
    assert report.params["epochs"] == 3
    assert report.precision == "float32"
    assert report.hardware.cores >= 1
    assert report.versions["torch"] == torch.__version__.partition("+")[0]
    history = read_csv(workspace.history)
    assert report.final == history[-1]
    assert report.seconds == pytest.approx(sum(row["seconds"] for row in history), abs=0.1)


def test_collected_images_change_the_weights_and_an_empty_file_does_not(
    workspace: Workspace, uninterrupted: str
) -> None:
    collect(workspace, 0)
    assert train(workspace) == uninterrupted
    collect(workspace, 8)
    mixed = train(workspace)
    assert mixed != uninterrupted
    report = TrainingReport.read(workspace.training_report)
    assert report.feedback_sha256 == sha256(workspace.feedback)
    assert train(workspace) == mixed


def test_all_code_that_affects_the_bits_is_recorded() -> None:
    """Otherwise other code could resume a training, and a release would not record its code."""
    digests = stage.code_digests(TASK)
    root = Path(stage.__file__).parents[2]
    assert digests == {path: sha256(root / path) for path in digests}
    assert digests.keys() >= {
        *(f"pipeline/mnist/{name}.py" for name in ("__init__", "augmentation", "network")),
        *(f"pipeline/training/{name}.py" for name in ("network", "optimizer", "trainer")),
    }


def test_without_a_lock_the_report_records_none(workspace: Workspace) -> None:
    workspace.requirements.unlink()
    train(workspace, replace(RECIPE, epochs=1))
    assert TrainingReport.read(workspace.training_report).requirements_sha256 is None


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ({"dropout": (0.1,)}, r"train\.dropout: .*, not 1$"),
        ({"validation_size": 20}, r"train: 32 training images .*validation_size 20\b"),
        ({"batch_size": 100_000}, r"train: .*batch_size 100000$"),
    ],
)
def test_an_unsuitable_setting_is_reported_and_replaces_nothing(
    workspace: Workspace, setting: dict[str, Any], key: str
) -> None:
    train(workspace, replace(RECIPE, epochs=1))
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.*")}
    with pytest.raises(UserError, match=rf"params\.yaml: {key}"):
        train(workspace, replace(RECIPE, **setting))
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.*")} == before


def test_divergence_is_reported_and_leaves_nothing_to_resume(workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"training diverged: the loss is .* in epoch \d"):
        train(workspace, replace(RECIPE, peak_learning_rate=1e9, warmup=0.0))
    assert not workspace.checkpoint.exists()


@pytest.mark.parametrize("content", [None, b"", os.urandom(1000)])
def test_missing_or_damaged_data_is_reported(workspace: Workspace, content: Any) -> None:
    workspace.training_set.unlink()
    if content is not None:
        workspace.training_set.write_bytes(content)
    with pytest.raises(UserError, match=r"data/train.safetensors is (missing|corrupt)"):
        train(workspace)


class Bar:
    """A stand-in for tqdm's bar."""

    def __init__(self, total: int, **_: Any) -> None:
        self.total = total
        self.n = 0

    def update(self, count: int) -> None:
        self.n += count

    def set_postfix_str(self, text: str, **_: Any) -> None:
        self.text = text


def test_the_progress_bar_fills_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "tqdm", Bar)
    progress = stage.ProgressBar(epochs=1, size=320)
    for images in (160, 320):
        progress.on_progress(images, 0.25, 0.5)
        assert progress.bar.n == images
    assert vars(progress.bar) == {"total": 320, "n": 320, "text": "loss 0.2500, accuracy 50.00%"}
