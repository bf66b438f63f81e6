"""The training benchmarks compare what they claim, and their reports match the measurements."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks.training import ablations, accuracy, speed, step
from benchmarks.training.alternatives import ABLATIONS, Ablation
from benchmarks.training.baselines import train_example, train_original
from benchmarks.training.effects import CHOSEN, effects
from benchmarks.training.recipes import load_recipe
from benchmarks.training.runs import add_row, code_digest, read_rows
from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.training.network import build_network, count_parameters
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer
from tests.checkout import PROJECT
from tests.digits import make_digits
from tests.training_sets import small_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return small_workspace(tmp_path)


def recipe(**changes: Any) -> Recipe:
    return Recipe(**yaml.safe_load((PROJECT / "params.yaml").read_text())["train"] | changes)


def test_the_original_has_the_same_size_and_the_example_its_own() -> None:
    images, labels = map(torch.from_numpy, make_digits(128, seed=1))
    (original,) = train_original(images, labels, seed=1, epochs=1, workers=0)
    (example,) = train_example(images, labels, seed=1, epochs=1)
    assert count_parameters(original) == count_parameters(build_network(TASK))
    assert count_parameters(example) == 1_199_882


def test_time_to_the_gate_ends_at_the_first_passing_epoch() -> None:
    epochs = [speed.Epoch(2.0, accuracy, None, 1) for accuracy in (0.9, 0.994, 0.99)]
    assert speed.seconds_to_gate(epochs, 0.994) == 4.0
    assert speed.seconds_to_gate(epochs[:1], 0.994) is None


def test_only_a_changed_recipe_invalidates_a_training(workspace: Workspace) -> None:
    methods = [*speed.RECIPES, *accuracy.BASELINES]
    before = {method: accuracy.deciding(workspace, method) for method in methods}
    assert before[speed.FAST] != before[speed.RELEASE]
    (workspace.root / "params.fast.yaml").write_text("train: {epochs: 3}\n")
    changed = {
        method for method in methods if accuracy.deciding(workspace, method) != before[method]
    }
    assert changed == {speed.FAST, speed.SHORTEST}


def test_only_changes_of_behaviour_invalidate_a_training(tmp_path: Path) -> None:
    """Comments and moved code do not repeat an hour of training."""

    def of(text: str) -> str:
        (tmp_path / "code.py").write_text(text)
        return code_digest(tmp_path / "code.py")

    code = "from pipeline.mnist.network import a, b\n\n\ndef rate(x):\n    return 2 * a(x)\n"
    explained = f'"""A module."""\n{code.replace(":", ":  # why")}'
    moved = code.replace("from pipeline.mnist.network import a, b", "from pipeline.net import b, a")
    assert of(code) == of(explained) == of(moved)
    assert of(code) != of(code.replace("2 *", "3 *"))
    assert of(code) != of(code.replace("import a, b", "import c as a, b"))
    assert of(code) != of(code.replace("pipeline.mnist", "torch"))


def test_the_release_recipe_is_refused_after_make_fast(workspace: Workspace) -> None:
    (workspace.root / "params.fast.yaml").write_text("train: {epochs: 2}\n")
    with pytest.raises(UserError, match=r"git checkout .*params\.yaml"):
        load_recipe(workspace, "release")


def test_the_report_has_mean_and_spread_over_seeds() -> None:
    columns = [*accuracy.LOWEST, *accuracy.HIGHEST]
    ours = {column: [0.993, 0.995] for column in columns}
    one = {column: [0.99] for column in columns}
    gate = load_params(PROJECT / "params.yaml").gate
    text = accuracy.show({"ours": ours, "other": one}, {"bfloat16": 1, "float32": 1}, gate)
    assert re.search(r"ours +\| +2 \| +99.400% \| +0.141% \| +99.30% \| +99.50% \| +1 of 2", text)
    assert re.search(r"shifted by up to 2 pixels +\| +99.40% \| +99.00% \|", text)
    assert re.search(r"lowest recall of a class +\| +≥ [\d.]+% \| +99.30% \| +99.00% \|", text)
    assert re.search(r"rotated by 5°[^|]+\| +≤ [\d.]+% \| +99.50% \| +99.00% \|", text)
    assert re.search(r"\b1 .*bfloat16.*\b1 .*float32", text)


def test_a_table_of_trainings_gets_new_columns(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    add_row(path, {"seed": 1, "accuracy": 0.5})
    add_row(path, {"seed": 2, "accuracy": 0.75, "recall": 0.25})
    assert read_rows(path) == [
        {"seed": "1", "accuracy": "0.5", "recall": ""},
        {"seed": "2", "accuracy": "0.75", "recall": "0.25"},
    ]


def test_no_two_ablations_are_the_same() -> None:
    chosen = recipe()
    seen = [(ablations.recipe_of(chosen, a, 1, 8, 100), a.trainer) for a in ABLATIONS.values()]
    assert all(seen.count(each) == 1 for each in seen)


def loss_after_an_epoch(trainer: type[Trainer]) -> float:
    images, labels = map(torch.from_numpy, make_digits(150, seed=1))
    chosen = ablations.recipe_of(recipe(batch_size=25), Ablation(), 1, 1, validation_size=50)
    epoch = trainer(TASK, images, labels, chosen).epoch(1)
    return epoch.figures["validation_loss"]


def test_every_trainer_differs() -> None:
    """A variant that has no effect would have the same loss."""
    losses = [loss_after_an_epoch(trainer) for trainer in {a.trainer for a in ABLATIONS.values()}]
    assert np.isfinite(losses).all()
    assert len(set(losses)) == len(losses)


def test_finished_trainings_are_not_repeated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "HELD_OUT", 100)
    monkeypatch.setattr(ablations, "DISTORTED", 50)
    names, runs = list(ABLATIONS)[:2], ablations.runs_file(workspace)
    for name in names:
        add_row(runs, ablations.train_once(workspace, name, seed=1, epochs=1))
    kept = runs.read_text()
    monkeypatch.setattr(ablations, "train_once", None)
    ablations.main(workspace, names, epochs=1, seeds=[1])
    assert runs.read_text() == kept
    assert [row["ablation"] for row in csv.DictReader(kept.splitlines())] == names
    table = runs.with_name("ablations.md").read_text()
    assert all(f"| {name}" in table for name in names)
    params = workspace.params.read_text()
    workspace.params.write_text(params.replace("batch_size: 50", "batch_size: 60"))
    assert ablations.current_rows(workspace) == []


def test_effects_are_differences_from_the_same_seed() -> None:
    errors = {("chosen", 1): (40, 50), ("chosen", 2): (50, 70), ("SGD", 1): (46, 90)}
    errors |= {("SGD", 2): (58, 70), ("SGD", 3): (99, 99)}
    rows = [
        {"ablation": name.replace("chosen", CHOSEN), "epochs": "6", "seed": str(seed)}
        | {"validation_errors": str(plain), "validation_loss": "0", "training_accuracy": "0"}
        | dict.fromkeys(ablations.DISTORTED_COLUMNS, str(distorted))
        for (name, seed), (plain, distorted) in errors.items()
    ]
    found = effects(rows, epochs=6)
    assert list(found) == [CHOSEN, "SGD"]
    assert found["SGD"].seeds == 3
    assert found["SGD"].errors == pytest.approx((46 + 58 + 99) / 3)
    assert found["SGD"].differences == [6, 8]
    assert found["SGD"].distorted_difference == 20
    assert "+7.0 ± 1.0" in ablations.summarise(rows)
    assert effects(rows, epochs=7) == {}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps, and no lasting changes of this process."""
    monkeypatch.setattr(step, "WARM_UP", 1)
    monkeypatch.setattr(step, "STEPS", 1)
    monkeypatch.setattr(step, "reuse_memory", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # restored


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("variant", [v for v in step.VARIANTS if "compiled" not in v])
def test_every_variant_of_a_step_runs(variant: str, workspace: Workspace) -> None:
    step.Runner.start(variant, workspace)
    assert step.Runner.steps(1) > 0
