"""Training: what is killed resumes in the same bits, and nothing of another run is mixed in."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, read_json, sha256
from pipeline.core.paths import EPOCHS, HISTORY, RESUME, SUMMARY, TEST, TRAIN, WEIGHTS
from pipeline.mnist.network import build_network
from pipeline.stages import train as stage
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import NonFiniteLossError, train
from tests.digits import make_digits
from tests.workspace import Workspace

RECIPE: dict[str, Any] = {
    "seed": 3,
    "epochs": 3,
    "batch_size": 50,
    "peak_learning_rate": 0.05,
    "vector_rate": 1.0,
    "warmup": 0.2,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "weight_average": 0.9,
    "label_smoothing": 0.0,
    "dropout": (0.02, 0.02, 0.02, 0.01),
    "rotation": 10.0,
    "shift": 0.05,
    "scale": 0.1,
    "thicken": 0.3,
    "thin": 0.3,
    "noise": 0.1,
    "validation_size": 0,
    "device": "cpu",
    "precision": "auto",
}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = make_digits(500, seed=1)
    return torch.from_numpy(images), torch.from_numpy(labels)


Digits = tuple[torch.Tensor, torch.Tensor]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_going_on_after_any_epoch_gives_the_same_bits(digits: Digits, precision: str) -> None:
    recipe = Recipe(**RECIPE | {"precision": precision})
    whole = list(train(*digits, recipe))
    for epoch in whole[:-1]:
        *_, last = train(*digits, recipe, epoch.state)
        for name, tensor in whole[-1].weights.items():
            assert torch.equal(tensor, last.weights[name]), name


def test_held_out_images_are_not_trained_on(digits: Digits) -> None:
    images, labels = digits
    recipe = Recipe(**RECIPE | {"validation_size": 100})
    spoilt = labels.clone()
    spoilt[-100:] = 0  # would change the weights if they were used
    plain, other = next(train(images, labels, recipe)), next(train(images, spoilt, recipe))
    assert torch.equal(plain.weights["0.weight"], other.weights["0.weight"])
    assert plain.figures["validation_loss"] != other.figures["validation_loss"]


def test_divergence_stops_at_once_and_says_where(digits: Digits) -> None:
    recipe = Recipe(**RECIPE | {"peak_learning_rate": 1e9, "warmup": 0.0})
    with pytest.raises(NonFiniteLossError, match=r"in epoch 1, batch \d+ of 10"):
        list(train(*digits, recipe))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda:7"}, "device 'cuda:7' cannot be used here"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"validation_size": 480}, "validation_size 480"),
    ],
)
def test_what_cannot_be_done_is_a_value_error(
    digits: Digits, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(train(*digits, Recipe(**RECIPE | changes)))


def test_the_network_remembers_no_image_by_its_batch() -> None:
    """In evaluation mode an answer does not depend on what else is in the batch."""
    network = build_network((0.5,) * 4).eval()
    inputs = torch.randn(3, 1, 28, 28)
    assert_close(network(inputs)[1:], network(inputs[1:]))


# The stage. What is killed runs in a process of its own, as under DVC; the rest runs here.

STAGE = Recipe(**RECIPE | {"epochs": 6, "dropout": (0.0, 0.0, 0.0, 0.01)})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("training") / "project")
    workspace.environment["MLFLOW_TRACKING_URI"] = "none"
    workspace.set_params({"train": json.loads(json.dumps(asdict(STAGE)))})
    for name in ("fetch", "prepare"):
        workspace.pipeline(name).check_returncode()
    (workspace.path / TEST).unlink()  # training must not even look at it
    return workspace


@pytest.fixture
def folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The workspace as the current folder; no resume file stays behind."""
    monkeypatch.chdir(workspace.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    yield workspace.path
    RESUME.unlink(missing_ok=True)


@pytest.fixture
def uninterrupted(folder: Path) -> str:
    """The digest of the weights of a training that nobody interrupts."""
    stage.run(STAGE)
    return sha256(WEIGHTS)


def start(workspace: Workspace) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "train"],
        cwd=workspace.path,
        env=workspace.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end_after_epoch(process: subprocess.Popen[str], epoch: int, number: signal.Signals) -> str:
    """Send a training a signal in the epoch after this one; returns what it printed."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"epoch {epoch}/"):
            time.sleep(0.05)  # into the next epoch, at no special place
            process.send_signal(number)
            break
    lines.append(process.stdout.read())
    process.wait(60)
    return "".join(lines)


def test_killed_and_stopped_four_times_it_ends_in_the_same_weights(
    workspace: Workspace, uninterrupted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WEIGHTS.unlink()
    process = start(workspace)
    end_after_epoch(process, 1, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    shutil.rmtree(EPOCHS)  # as DVC does before it runs the stage again
    HISTORY.unlink()
    for epoch, number in ((2, signal.SIGINT), (3, signal.SIGTERM), (4, signal.SIGKILL)):
        process = start(workspace)
        output = end_after_epoch(process, epoch, number)
        assert f"going on after epoch {epoch - 1}" in output
        assert f"epoch {epoch + 2}/" not in output
        assert "Traceback" not in output
        if number != signal.SIGKILL:
            assert process.returncode == 128 + number
            assert f"stopped by {number.name}" in output
    assert not WEIGHTS.exists()
    stage.run(STAGE)
    assert "going on after epoch 4" in capsys.readouterr().out
    assert sha256(WEIGHTS) == uninterrupted
    assert [path.name for path in sorted(EPOCHS.iterdir())] == [
        f"{number:02}.safetensors" for number in range(1, 7)
    ]
    assert [row["epoch"] for row in read_csv(HISTORY)] == [1, 2, 3, 4, 5, 6]
    assert not RESUME.exists()


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_while_a_training_runs_no_other_stage_starts_in_the_folder(
    workspace: Workspace, folder: Path, command: str
) -> None:
    with stopped_training(workspace) as first:
        second = workspace.pipeline(command)
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr == (
        "error: the workspace is busy with `python -m pipeline train` "
        f"(process {first.pid}): wait for its end, or stop it\n"
    )


def test_a_second_training_in_the_folder_is_refused_in_a_flow_run_too(
    workspace: Workspace, folder: Path
) -> None:
    """A flow run's stages do not ask for the workspace, which the flow run holds already."""
    flow_run = {"PIPELINE_FLOW_RUN_ID": "0199-4a", "PIPELINE_FLOW_RUN_URL": "http://prefect/4a"}
    with stopped_training(workspace):
        second = workspace.pipeline("train", env=workspace.environment | flow_run)
    assert second.returncode == 2
    assert second.stderr.startswith("error: another training runs in ")
    assert len(second.stderr.splitlines()) == 1


@contextmanager
def stopped_training(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A training that is stopped (SIGSTOP) after its first epoch."""
    process = start(workspace)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch 1/")
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


def interrupt(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a training after its first epoch, leaving its resume file."""
    with monkeypatch.context() as patch:
        patch.setattr(stage.Bar, "on_epoch", _stop)
        with pytest.raises(KeyboardInterrupt):
            stage.run(recipe)
    assert RESUME.exists()


def _stop(bar: object, figures: dict[str, float]) -> None:
    raise KeyboardInterrupt


def test_a_resume_file_of_other_params_is_ignored_with_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(STAGE, seed=5, epochs=2)
    stage.run(other)
    expected = sha256(WEIGHTS)
    interrupt(STAGE, monkeypatch)
    stage.run(other)
    assert "starting anew" in (printed := capsys.readouterr().out)
    assert "params changed" in printed
    assert sha256(WEIGHTS) == expected
    assert len(list(EPOCHS.iterdir())) == 2


def test_a_resume_file_of_other_data_is_ignored_with_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(STAGE, monkeypatch)
    content = TRAIN.read_bytes()
    try:
        TRAIN.write_bytes(content[:-1] + bytes([(content[-1] + 1) % 10]))  # one label
        stage.run(replace(STAGE, epochs=1))
    finally:
        TRAIN.write_bytes(content)
    assert "data_sha256, params changed" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["noise", "cut"])
def test_a_damaged_resume_file_is_ignored_with_a_word(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uninterrupted: str,
    damage: str,
) -> None:
    interrupt(STAGE, monkeypatch)
    content = RESUME.read_bytes()
    RESUME.write_bytes(os.urandom(5000) if damage == "noise" else content[: len(content) // 2])
    stage.run(STAGE)
    assert "starting anew: artifacts/resume.safetensors is ignored" in capsys.readouterr().out
    assert sha256(WEIGHTS) == uninterrupted


def test_the_summary_says_what_was_done_on_what(uninterrupted: str) -> None:
    summary = read_json(SUMMARY)
    assert summary["status"] == "finished"
    assert summary["flow_run"] is None
    assert summary["weights_sha256"] == uninterrupted
    assert summary["data_sha256"] == sha256(TRAIN)
    assert summary["params"]["epochs"] == 6
    assert summary["precision"] in ("float32", "bfloat16")
    assert summary["hardware"]["cores"] >= 1
    assert summary["requirements_sha256"] == sha256(Path("requirements.txt"))
    assert summary["versions"]["torch"] == torch.__version__.partition("+")[0]
    history = read_csv(HISTORY)
    assert summary["final"] == history[-1]
    assert summary["seconds"] == pytest.approx(sum(row["seconds"] for row in history), abs=0.1)


def test_without_a_lock_the_summary_has_none(folder: Path) -> None:
    lock = Path("requirements.txt").rename("elsewhere.txt")
    try:
        stage.run(replace(STAGE, epochs=1))
    finally:
        lock.rename("requirements.txt")
    assert read_json(SUMMARY)["requirements_sha256"] is None


def test_in_a_flow_run_training_goes_on_where_one_by_hand_was_stopped_and_names_the_flow_run(
    uninterrupted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(STAGE, monkeypatch)
    url = "http://127.0.0.1:4200/runs/flow-run/0199-4a"
    monkeypatch.setenv("PIPELINE_FLOW_RUN_ID", "0199-4a")
    monkeypatch.setenv("PIPELINE_FLOW_RUN_URL", url)
    stage.run(STAGE)
    assert "going on after epoch 1" in capsys.readouterr().out
    assert sha256(WEIGHTS) == uninterrupted
    assert read_json(SUMMARY)["flow_run"] == {"id": "0199-4a", "url": url}


def test_divergence_is_said_and_leaves_nothing_to_resume(folder: Path) -> None:
    with pytest.raises(UserError, match=r"training diverged: the loss is .* in epoch 1"):
        stage.run(replace(STAGE, peak_learning_rate=1e9, warmup=0.0))
    assert not RESUME.exists()


@pytest.mark.parametrize("content", [None, b"", os.urandom(1000)])
def test_missing_or_damaged_data_is_one_line(folder: Path, content: bytes | None) -> None:
    whole = TRAIN.read_bytes()
    try:
        TRAIN.unlink()
        if content is not None:
            TRAIN.write_bytes(content)
        with pytest.raises(UserError, match=r"data/train.safetensors is (missing|corrupt)"):
            stage.run(STAGE)
    finally:
        TRAIN.write_bytes(whole)
