"""params.yaml names the task: a package of the pipeline or of the workspace."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def test_a_task_is_found_in_the_pipeline_or_next_to_params_yaml(tmp_path: Path) -> None:
    (tmp_path / "numerals").mkdir()
    (tmp_path / "numerals/__init__.py").write_text(OWN)
    own = load_task("numerals", tmp_path)
    assert (own.package, own.noun) == ("numerals", "numeral")
    assert load_task("pipeline/mnist", tmp_path) is TASK
    assert load_task("tests/letters", tmp_path) is LETTERS


def test_a_task_of_the_workspace_takes_precedence_over_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, task in (("current", OWN.replace("numeral", "another")), ("workspace", OWN)):
        (tmp_path / folder / "figures").mkdir(parents=True)
        (tmp_path / folder / "figures/__init__.py").write_text(task)
    monkeypatch.syspath_prepend(tmp_path / "current")
    assert load_task("figures", tmp_path / "workspace").noun == "numeral"


@pytest.mark.parametrize("name", ["nowhere", "pipeline/core", "of_another_kind"])
def test_a_package_that_is_not_a_task_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "of_another_kind.py").write_text("TASK = 'digits'\n")
    with pytest.raises(UserError, match=rf"^params\.yaml: task: {name}[^\n]*$"):
        load_task(name, tmp_path)
    with pytest.raises(UserError, match=rf"^summary\.json: task: {name}[^\n]*$"):
        load_task(name, tmp_path, named_in="summary.json")


def test_a_task_with_the_package_of_another_is_refused(tmp_path: Path) -> None:
    """Otherwise it would use the other task's network and data."""
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied/__init__.py").write_text("from pipeline.mnist import TASK\n")
    with pytest.raises(UserError, match=r"pipeline\.mnist"):
        load_task("copied", tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("one",)},
        {"labels": tuple(map(str, range(257)))},
        {"labels": ("a", "a")},
        {"labels": ("a", "two\nlines")},
        {"labels": "0123456789"},
        {"form": ImageForm(height=24, width=40, ink=25)},
        {"form": ImageForm(height=7, width=40, ink=7)},
        {"model": "my model/1"},
        {"noun": "label"},
        {"std": 0.0},
        {"mean": 33.3},
        {"noun": "novelty"},
        {"noun": "several"},
        {"foreign": "A7"},  # 7 is a label
        {"mirrored": ("A",)},
    ],
)
def test_an_invalid_task_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^the task pipeline\.mnist: [^\n]+$"):
        replace(TASK, **wrong)


def test_labels_can_be_any_text_and_images_rectangular() -> None:
    form = ImageForm(height=24, width=40, ink=24)
    replace(TASK, labels=("größer als", "10"), form=form, mirrored=())


@pytest.mark.parametrize(
    "sets", [None, (1, 2), ((np.zeros((1, 28, 28), np.uint8),),) * 2, (([], []), ([], []))]
)
def test_a_read_function_with_a_wrong_result_is_reported(
    sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.mnist.data.read", lambda raw: sets)
    with pytest.raises(UserError, match=r"^pipeline\.mnist\.data: read [^\n]*$"):
        TASK.read(Path())


def test_a_missing_module_or_function_is_reported(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/__init__.py").write_text(OWN)
    (tmp_path / "unfinished/network.py").touch()
    task: Task = load_task("unfinished", tmp_path)
    with pytest.raises(UserError, match=r"unfinished has no module data"):
        task.read(tmp_path)
    with pytest.raises(UserError, match=r"unfinished\.network has no function build_network"):
        task.call("network", "build_network")


@pytest.mark.parametrize("module", ["__init__", "network"])
def test_a_syntax_error_is_reported_with_file_and_line(tmp_path: Path, module: str) -> None:
    folder = tmp_path / f"unparsed_{module}"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN)
    with (folder / f"{module}.py").open("a") as file:
        file.write("#\ndef build_network(:\n")
    line = len((folder / f"{module}.py").read_text().splitlines())
    with pytest.raises(UserError, match=rf"{folder}/{module}\.py, line {line}: [^\n]+$"):
        load_task(folder.name, tmp_path).call("network", "build_network")
