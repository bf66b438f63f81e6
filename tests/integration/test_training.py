"""A killed training resumes to the same bits, and blocks other stages while it runs."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import save_file

from pipeline.core.files import read_csv, sha256
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.stages import train as stage
from tests.checkout import PROJECT, UNTRACKED, python
from tests.digits import make_digits
from tests.unit.test_recipe import RECIPE

LONG = replace(RECIPE, epochs=5, batch_size=50, dropout=(0.0, 0.0, 0.0, 0.01))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with params.yaml and a training set, but no test set."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    workspace = Workspace(tmp_path)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["train"] = json.loads(json.dumps(asdict(LONG)))
    workspace.params.write_text(yaml.safe_dump(params))
    workspace.training_set.parent.mkdir()
    images, labels = make_digits(500, seed=1)
    save_file({"images": images, "labels": labels}, workspace.training_set)
    return workspace


def start(workspace: Workspace) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "train"],
        cwd=workspace.root,
        env=UNTRACKED,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end_after_epoch(process: subprocess.Popen[str], epoch: int, number: signal.Signals) -> str:
    """Send a signal during the epoch after this one; return the output of the training."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"epoch {epoch}/"):
            time.sleep(0.05)  # somewhere in the next epoch
            process.send_signal(number)
            break
    lines.append(process.stdout.read())
    process.wait(60)
    return "".join(lines)


def test_a_training_interrupted_three_times_ends_with_the_same_weights(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.run(workspace, LONG, TASK)
    uninterrupted = sha256(workspace.weights)
    workspace.weights.unlink()
    process = start(workspace)
    end_after_epoch(process, 1, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    shutil.rmtree(workspace.epochs)  # as DVC does before it runs the stage again
    workspace.history.unlink()
    for epoch, number in ((2, signal.SIGINT), (3, signal.SIGTERM)):
        process = start(workspace)
        output = end_after_epoch(process, epoch, number)
        assert f"resuming after epoch {epoch - 1}" in output
        assert f"epoch {epoch + 2}/" not in output
        assert "Traceback" not in output
        assert process.returncode == 128 + number
        assert f"stopped by {number.name}" in output
    assert not workspace.weights.exists()
    stage.run(workspace, LONG, TASK)
    assert "resuming after epoch 3" in capsys.readouterr().out
    assert sha256(workspace.weights) == uninterrupted
    assert [path.name for path in sorted(workspace.epochs.iterdir())] == [
        f"{number:02}.safetensors" for number in range(1, 6)
    ]
    assert [row["epoch"] for row in read_csv(workspace.history)] == [1, 2, 3, 4, 5]
    assert not workspace.checkpoint.exists()


def test_no_other_stage_starts_while_a_training_runs(workspace: Workspace) -> None:
    """Stages of a flow run skip the workspace lock, but a training has its own."""
    flow_run = {"PIPELINE_FLOW_RUN_ID": "0199-4a", "PIPELINE_FLOW_RUN_URL": "http://prefect/4a"}
    with paused_training(workspace) as first:
        stage = python(workspace.root, "-m", "pipeline", "prepare")
        training = python(workspace.root, "-m", "pipeline", "train", **flow_run)
    assert (stage.returncode, training.returncode) == (2, 2)
    assert stage.stdout == ""
    (line,) = stage.stderr.splitlines()
    assert f"busy with `python -m pipeline train` (process {first.pid}): " in line
    assert training.stderr.startswith("error: another training ")
    assert len(training.stderr.splitlines()) == 1


@contextmanager
def paused_training(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A training that is paused (SIGSTOP) after its first epoch."""
    process = start(workspace)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch 1/")
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()
