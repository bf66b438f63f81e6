"""The training benchmarks, with real trainings and exports."""

import csv
import re
from pathlib import Path

import pytest

from benchmarks.models import model_path
from benchmarks.training import accuracy, speed, step
from benchmarks.training.runs import add_rows
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from tests.training_sets import TRAINING, small_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return small_workspace(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, speed.Results]:
    """A workspace after a one-epoch `python -m benchmarks training`, and its results."""
    workspace = small_workspace(tmp_path_factory.mktemp("trained"))
    results = {}
    for method in speed.methods(workspace):
        speed.Runner.start(method, workspace, seed=1)
        results[method] = [speed.Runner.epoch(speed.file_name(method))]
    return workspace, results


def test_every_method_trains_and_exports_a_model_that_is_evaluated(
    trained: tuple[Workspace, speed.Results],
) -> None:
    workspace, results = trained
    text = speed.show(results, TRAINING, gate=0.994)
    for method, (epoch,) in results.items():
        assert model_path(workspace, speed.file_name(method)).exists()
        assert f"{epoch.exported_accuracy:.2%}" in text
        assert epoch.exported_accuracy == pytest.approx(epoch.test_accuracy, abs=0.011), method
    speed.draw(results, gate=0.994)


def test_a_quick_accuracy_benchmark_trains_only_missing_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = small_workspace(tmp_path, training=100)  # the original has 19 epochs
    monkeypatch.setattr(accuracy, "BASELINES", [speed.ORIGINAL])  # the quicker one
    accuracy.main(workspace, seeds=1)
    kept = accuracy.runs_file(workspace).read_text()
    rows = {row["method"]: row for row in csv.DictReader(kept.splitlines())}
    shown = capsys.readouterr().out
    assert {*rows} == {*speed.RECIPES, *accuracy.BASELINES}
    for name in speed.RECIPES:
        plain, noisy = (rows[name][d] for d in ("undistorted", "Gaussian noise, σ = 0.2"))
        assert re.search(rf"{name} +\| +1 \| +{float(plain):.3%} ", shown)
        assert 0 <= float(noisy) <= 1
        assert rows[name]["precision"] == "float32"
    assert re.search(r"\b3\b.* float32", shown)
    for exported in model_path(workspace, "any").parent.iterdir():
        exported.unlink()
    accuracy.main(workspace, seeds=1)
    assert accuracy.runs_file(workspace).read_text() == kept


def test_a_failed_training_cancels_the_others(workspace: Workspace) -> None:
    workspace.training_set.unlink()
    runs = [(workspace, accuracy.Run(speed.FAST, seed, "")) for seed in range(9)]
    with pytest.raises(UserError, match="is missing"):
        add_rows(accuracy.runs_file(workspace), accuracy.train_once, runs)


def test_a_step_is_profiled_and_counted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "reuse_memory", lambda: None)  # it would affect this process
    step.Runner.start(step.UNCHANGED, workspace)
    operators = [name for name, _ in step.Runner.operators()]
    assert "aten::convolution_backward" in operators[:3]
    # 4.6 million multiplications per image forward, almost three times that with backward
    an_image = step.Runner.arithmetic() / TRAINING / 2
    assert 2.8 < an_image / 4.6e6 < 3.0
