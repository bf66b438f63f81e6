"""params.yaml names the task: a package of the pipeline or of the workspace."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.core.task import ImageForm, Task, load_task
from pipeline.mnist import TASK
from tests.letters import TASK as LETTERS

OWN = """from dataclasses import replace
from pipeline.mnist import TASK as DIGITS
TASK = replace(DIGITS, package=__name__, noun="numeral")
"""


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_task_is_one_of_the_pipeline_or_one_beside_params_yaml(tmp_path: Path) -> None:
    (tmp_path / "numerals").mkdir()
    (tmp_path / "numerals/__init__.py").write_text(OWN)
    own = load_task("numerals", tmp_path)
    assert (own.package, own.noun) == ("numerals", "numeral")
    assert load_task("pipeline/mnist", tmp_path) is TASK
    assert load_task("tests/letters", tmp_path) is LETTERS


def test_a_task_of_the_workspace_comes_before_one_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, task in (("current", OWN.replace("numeral", "another")), ("workspace", OWN)):
        (tmp_path / folder / "figures").mkdir(parents=True)
        (tmp_path / folder / "figures/__init__.py").write_text(task)
    monkeypatch.syspath_prepend(tmp_path / "current")
    assert load_task("figures", tmp_path / "workspace").noun == "numeral"


@pytest.mark.parametrize("name", ["nowhere", "pipeline/core", "of_another_kind"])
def test_what_is_no_task_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "of_another_kind.py").write_text("TASK = 'digits'\n")
    with pytest.raises(UserError, match=rf"^params\.yaml: task: {name}[^\n]*$"):
        load_task(name, tmp_path)
    with pytest.raises(UserError, match=rf"^summary\.json: task: {name}[^\n]*$"):
        load_task(name, tmp_path, named_in="summary.json")


def test_a_task_that_names_the_package_of_another_is_refused(tmp_path: Path) -> None:
    """Its network and data would be those of the other one."""
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied/__init__.py").write_text("from pipeline.mnist import TASK\n")
    with pytest.raises(UserError, match=r"of the package pipeline\.mnist"):
        load_task("copied", tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("one",)},
        {"labels": tuple(map(str, range(257)))},
        {"labels": ("a", "a")},
        {"labels": "0123456789"},
        {"form": ImageForm(height=24, width=40, ink=25)},
        {"form": ImageForm(height=7, width=40, ink=7)},
        {"model": "my model/1"},
        {"noun": "label"},
        {"std": 0.0},
        {"mean": 33.3},
    ],
)
def test_a_task_that_no_stage_could_use_is_refused_before_any_runs(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^the task pipeline\.mnist: [^\n]+$"):
        replace(TASK, **wrong)


def test_labels_are_any_texts_and_images_need_not_be_square() -> None:
    replace(TASK, labels=("größer als", "10"), form=ImageForm(height=24, width=40, ink=24))


CONVOLUTIONS = (nn.Conv2d(1, 4, 3), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (nn.Linear(784, 10), "is a Linear"),
        (nn.Sequential(nn.BatchNorm2d(1), *CONVOLUTIONS), "begin with a Conv2d"),
        (nn.Sequential(*CONVOLUTIONS, nn.MaxPool2d(2)), "MaxPool2d follows the last ReLU"),
        (nn.Sequential(*CONVOLUTIONS, nn.Flatten(), nn.Linear(2704, 10)), "Flatten follows"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(28, 28), nn.ReLU()), r"not \[28, 28\]"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "takes no images"),
        (nn.Sequential(*CONVOLUTIONS, nn.Conv2d(4, 9, 26)), r"\[2, 9, 1, 1\], not \[2, 10, 1, 1\]"),
        (nn.Sequential(*CONVOLUTIONS, nn.Conv2d(4, 10, 25)), r"\[2, 10, 2, 2\]"),
    ],
)
def test_a_network_that_could_not_be_exported_is_refused_before_training(
    network: nn.Module, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.mnist.network.build_network", lambda dropout: network)
    with pytest.raises(UserError, match=rf"^pipeline\.mnist\.network: [^\n]*{problem}"):
        TASK.build_network()


def test_the_look_at_a_network_leaves_it_as_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(*CONVOLUTIONS, nn.BatchNorm2d(4), nn.Conv2d(4, 10, 26))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr("pipeline.mnist.network.build_network", lambda dropout: network)
    state = torch.get_rng_state()
    assert TASK.build_network() is network
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "sets", [None, (1, 2), ((np.zeros((1, 28, 28), np.uint8),),) * 2, (([], []), ([], []))]
)
def test_what_is_not_two_sets_is_one_line(sets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.mnist.data.read", lambda raw: sets)
    with pytest.raises(UserError, match=r"^pipeline\.mnist\.data: read returns [^\n]*$"):
        TASK.read(Path())


def test_augmented_images_of_another_shape_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.mnist.augmentation.augment", lambda x, *_: x.unsqueeze(1))
    with pytest.raises(UserError, match=r"augment makes images \[3, 1, 28, 28\] of \[3, 28, 28\]$"):
        TASK.augment(torch.zeros(3, 28, 28), torch.Generator(), None)


def test_a_module_or_function_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/__init__.py").write_text(OWN)
    (tmp_path / "unfinished/network.py").touch()
    task: Task = load_task("unfinished", tmp_path)
    with pytest.raises(UserError, match=r"unfinished has no module data"):
        task.read(tmp_path)
    with pytest.raises(UserError, match=r"unfinished\.network has no function build_network"):
        task.build_network()
