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
from benchmarks.models import MODELS, export
from benchmarks.recipes import load_recipe
from benchmarks.rivals import train_example, train_original
from benchmarks.trainings import add_row, add_rows, code_digest
from pipeline.core.errors import UserError
from pipeline.core.paths import TRAIN
from pipeline.mnist.network import build_network, count_parameters
from pipeline.training.trainer import Trainer
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
        results[way] = [training.Runner.epoch(training.file_name(way))]
        assert (folder / MODELS / f"{training.file_name(way)}.onnx").exists()
    text = training.show(results, images=600)
    for way, (epoch,) in results.items():
        assert f"{epoch.exported_accuracy:.2%}" in text
        assert epoch.exported_accuracy == pytest.approx(epoch.test_accuracy, abs=0.011), way
    training.draw(results)


def test_the_time_to_the_gate_is_that_of_the_first_epoch_to_pass() -> None:
    epochs = [training.Epoch(2.0, accuracy, None, 1) for accuracy in (0.9, 0.994, 0.99)]
    assert training.seconds_to_gate(epochs) == 4.0
    assert training.seconds_to_gate(epochs[:1]) is None


def test_a_quick_look_at_accuracy_trains_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rival in (training.ORIGINAL, training.EXAMPLE):
        export(build_network(), training.file_name(rival))
    accuracy.main(seeds=1)
    kept = (folder / accuracy.RUNS).read_text()
    rows = {row["way"]: row for row in csv.DictReader(kept.splitlines())}
    told = capsys.readouterr().out
    assert list(rows)[:2] == accuracy.RIVALS
    for name in (training.FAST, training.RELEASE):
        plain, noisy = (rows[name][d] for d in ("as they are", "Gaussian noise, σ = 0.2"))
        assert re.search(rf"{name} +\| +1 \| +{float(plain):.3%} ", told)
        assert 0 <= float(noisy) <= 1
        assert rows[name]["precision"] == "float32"
    assert "2 in float32" in told
    for exported in (folder / MODELS).iterdir():
        exported.unlink()
    accuracy.main(seeds=1)
    assert (folder / accuracy.RUNS).read_text() == kept


def test_what_decides_a_training_is_its_recipe(folder: Path) -> None:
    decided_by = {way: accuracy.deciding(way) for way in (*training.RECIPES, *accuracy.RIVALS)}
    assert decided_by[training.FAST] != decided_by[training.RELEASE]
    (folder / "params.fast.yaml").write_text("train: {epochs: 3}\n")
    changed = {way for way, before in decided_by.items() if accuracy.deciding(way) != before}
    assert changed == {training.FAST}


def test_another_wording_of_the_code_does_not_train_again(tmp_path: Path) -> None:
    """An hour of training is repeated for what the code does, not for how it is explained."""

    def of(text: str) -> str:
        (tmp_path / "code.py").write_text(text)
        return code_digest(tmp_path / "code.py")

    code = 'def rate(x):\n    """Old."""\n    return 2 * x\n'
    reworded = '"""A module."""\n# why\ndef rate(x):\n    """New."""\n    return 2*x  # twice\n'
    assert of(code) == of(reworded)
    assert of(code) != of(code.replace("2 *", "3 *"))


def test_a_failed_training_does_not_wait_for_the_others(folder: Path) -> None:
    (folder / TRAIN).unlink()
    with pytest.raises(UserError, match="is missing"):
        add_rows(
            accuracy.RUNS, accuracy.train_once, [(training.FAST, seed, "") for seed in range(9)]
        )


def test_after_make_fast_there_is_no_release_to_measure(folder: Path) -> None:
    (folder / "params.fast.yaml").write_text("train: {epochs: 2}\n")
    with pytest.raises(UserError, match=r"git checkout params\.yaml"):
        load_recipe("release")


def test_the_report_tells_mean_and_spread_over_seeds() -> None:
    ours = {distortion: [0.993, 0.995] for distortion in DISTORTIONS}
    one = {distortion: [0.99] for distortion in DISTORTIONS}
    told = accuracy.show({"ours": ours, "other": one}, {"bfloat16": 1, "float32": 1})
    assert re.search(r"ours +\| +2 \| +99.400% \| +0.141% \| +99.30% \| +99.50% \| +1 of 2", told)
    assert re.search(r"moved by up to 2 pixels +\| +99.40% \| +99.00% \|", told)
    assert "1 in bfloat16 and 1 in float32" in told
    assert "Our recipes train with distortions of these kinds" in told


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
            figures = training.epoch(number, lambda *batch: None).figures
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
    assert len(recipe.current_runs()) == 2
    assert [row["candidate"] for row in csv.DictReader(kept.splitlines())] == names
    table = (folder / recipe.RUNS).with_name("candidates.md").read_text()
    assert all(name in table for name in names)
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("batch_size: 100", "batch_size: 50"))
    assert recipe.current_runs() == []


def test_effects_are_differences_to_the_same_seed() -> None:
    mistakes = {("chosen", 1): (40, 50), ("chosen", 2): (50, 70), ("SGD", 1): (46, 90)}
    mistakes |= {("SGD", 2): (58, 70), ("SGD", 3): (99, 99)}
    runs = [
        {"candidate": name.replace("chosen", CHOSEN), "epochs": "6", "seed": str(seed)}
        | {"validation_mistakes": str(plain), "validation_loss": "0", "training_accuracy": "0"}
        | dict.fromkeys(recipe.DISTORTED_WAYS, str(distorted))
        for (name, seed), (plain, distorted) in mistakes.items()
    ]
    effects = recipe.effects(runs, epochs=6)
    assert list(effects) == [CHOSEN, "SGD"]
    assert effects["SGD"].seeds == 3
    assert effects["SGD"].mistakes == pytest.approx((46 + 58 + 99) / 3)
    assert effects["SGD"].more == [6, 8]
    assert effects["SGD"].more_distorted == 20
    assert "+7.0 ± 1.0" in recipe.summarise(runs)
    assert recipe.effects(runs, epochs=7) == {}


@pytest.mark.parametrize("variant", [v for v in step.VARIANTS if "compiled" not in v])
def test_every_variant_of_a_step_runs(
    variant: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "reuse_memory", lambda: None)  # these would change this process
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # put back
    step.Runner.start(variant)
    assert step.Runner.steps(1) > 0


def test_a_step_is_profiled_and_counted(folder: Path) -> None:
    step.Runner.start(step.AS_IT_IS)
    operators = [name for name, _ in step.Runner.operators()]
    assert "aten::convolution_backward" in operators[:3]
    # 4.6 million multiplications an image forward, near three times that with backward
    an_image = step.Runner.arithmetic() / 600 / 2
    assert 2.8 < an_image / 4.6e6 < 3.0
