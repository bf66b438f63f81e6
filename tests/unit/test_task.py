"""params.yaml names the task: a package of the pipeline or of the workspace."""

import sys
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.task import load_task
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
