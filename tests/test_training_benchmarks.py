"""The benchmarks of training: what they compare is what they say, and a small run of each works."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from benchmarks import accuracy, recipe, step, training
from benchmarks.candidates import CANDIDATES, CHOSEN
from benchmarks.distortions import DISTORTIONS
from benchmarks.models import MODELS
from benchmarks.rivals import train_example, train_original
from benchmarks.trainings import add_row, add_rows
from pipeline.mnist.model import count_parameters
from pipeline.mnist.training import Trainer
from tests.digits import make_digits
from tests.workspace import PROJECT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small sets and short recipes, as the current one."""
    for name, count, seed in (("train", 600, 1), ("test", 200, 2)):
        images, labels = make_digits(count, seed)
        path = tmp_path / f"data/{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({"images": images, "labels": labels}, path)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["train"] |= {"epochs": 2, "batch_size": 100, "precision": "float32"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "params.fast.yaml").write_text("train: {epochs: 1}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_original_has_our_network_and_the_example_its_own() -> None:
    images, labels = map(torch.from_numpy, make_digits(128, seed=1))
    (ours,) = train_original(images, labels, seed=1, epochs=1, workers=0)
    (example,) = train_example(images, labels, seed=1, epochs=1)
    assert count_parameters(ours) == 19_210
    assert count_parameters(example) == 1_199_882


def test_every_way_trains_and_leaves_a_model_that_is_measured(folder: Path) -> None:
    results = {}
    for way in (training.RELEASE, training.FAST, training.ORIGINAL, training.EXAMPLE):
        training.Runner.start(way, seed=1)
        results[way] = [training.Runner.epoch(way)]
        assert (folder / MODELS / f"{way}.onnx").exists()
    text = training.show(results, images=600)
    for way, (epoch,) in results.items():
        assert f"{epoch.exported_accuracy:.2%}" in text
        assert epoch.exported_accuracy == pytest.approx(epoch.test_accuracy, abs=0.011), way
    training.draw(results)


def test_the_time_to_the_gate_is_that_of_the_first_epoch_to_pass() -> None:
    epochs = [training.Epoch(2.0, accuracy, None, 1) for accuracy in (0.9, 0.994, 0.99)]
    assert training.seconds_to_gate(epochs) == 4.0
    assert training.seconds_to_gate(epochs[:1]) is None


def test_a_training_is_known_by_what_decides_it(folder: Path) -> None:
    digests = {accuracy.decides(name, seed) for name in ("release", "fast") for seed in (1, 2)}
    assert len(digests) == 4
    add_rows(accuracy.RUNS, accuracy.train_once, [("fast", 1)])
    ((run, row),) = accuracy.finished().items()
    assert run == ("fast", 1)
    assert row["precision"] == "float32"
    assert all(0 <= float(row[distortion]) <= 1 for distortion in DISTORTIONS)
    (folder / "params.fast.yaml").write_text("train: {epochs: 3}\n")
    assert accuracy.finished() == {}


def test_the_report_tells_mean_and_spread_over_seeds() -> None:
    ours = {distortion: [0.993, 0.995] for distortion in DISTORTIONS}
    one = {distortion: [0.99] for distortion in DISTORTIONS}
    told = accuracy.show({"ours": ours, "other": one}, {"bfloat16": 1, "float32": 1})
    assert re.search(r"ours +\| +2 \| +99.400% \| +0.141% \| +99.30% \| +99.50% \| +1 of 2", told)
    assert re.search(r"moved by up to 2 pixels +\| +99.40% \| +99.00% \|", told)
    assert "1 in bfloat16 and 1 in float32" in told


def test_without_the_rivals_models_it_says_what_to_run(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.training"):
        accuracy.main(seeds=1)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distortion_keeps_the_form_and_is_the_same_each_time(name: str) -> None:
    images, _ = make_digits(20, seed=1)
    before = images.copy()
    first, again = (DISTORTIONS[name](images, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(images, before)
    assert (first != images).any() == (name != "as they are")


def test_strokes_become_thinner_and_thicker() -> None:
    images, _ = make_digits(20, seed=1)
    random = np.random.default_rng(1)
    thin, thick = (DISTORTIONS[f"{how} strokes"](images, random) for how in ("thinner", "thicker"))
    assert (thin <= images).all()
    assert (thick >= images).all()


def test_every_candidate_is_another() -> None:
    seen = [(recipe.recipe_of(c, 1, 8, 100), c.trainer) for c in CANDIDATES.values()]
    assert all(seen.count(each) == 1 for each in seen)


@pytest.mark.parametrize("trainer", sorted({c.trainer for c in CANDIDATES.values()}, key=str))
def test_a_trainer_learns_in_its_own_way(trainer: type[Trainer], folder: Path) -> None:
    """An idea that is not wired up would show as the same loss."""
    images, labels = map(torch.from_numpy, make_digits(400, seed=1))
    chosen = recipe.recipe_of(CANDIDATES[CHOSEN], seed=1, epochs=2, validation_size=100)
    losses = []
    for each in (trainer, Trainer):
        training = each(images, labels, chosen)
        for number in (1, 2):
            figures = training.epoch(number, lambda loss, accuracy, count: None).figures
        losses.append(figures["validation_loss"])
    assert np.isfinite(losses).all()
    assert (losses[0] != losses[1]) == (trainer is not Trainer)


def test_runs_are_kept_and_not_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "HELD_OUT", 100)
    monkeypatch.setattr(recipe, "DISTORTED", 50)
    names = list(CANDIDATES)[:2]
    for name in names:
        add_row(recipe.RUNS, recipe.train_once(name, seed=1, epochs=1))
    kept = (folder / recipe.RUNS).read_text()
    recipe.main(names, epochs=1, seeds=[1])
    assert (folder / recipe.RUNS).read_text() == kept
    assert [row["candidate"] for row in csv.DictReader(kept.splitlines())] == names
    table = (folder / recipe.RUNS).with_name("candidates.md").read_text()
    assert all(name in table for name in names)


def test_a_step_is_timed_profiled_and_counted(folder: Path) -> None:
    step.Runner.start(step.AS_IT_IS)
    assert step.Runner.steps(2) > 0
    assert sum(share for _, share in step.Runner.operators()) == pytest.approx(1)
    # 4.6 million multiplications an image forward, near three times that with backward
    an_image = step.Runner.arithmetic() / 600 / 2
    assert 2.8 < an_image / 4.6e6 < 3.0
