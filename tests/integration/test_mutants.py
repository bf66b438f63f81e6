"""Mutation testing: the mutants that tests detect and those that survive."""

import subprocess
from pathlib import Path

import pytest

from tests import mutants
from tests.unit.test_mutants import MODULE

WEAK = "from pipeline.price import price\ndef test(): price(1)\n"
STRONG = """from pipeline.price import price
def test():
    assert [price(n) for n in (1, 9, 10, 11, 22)] == [1.5, 13.5, 13.5, 14.85, 29.7]
    assert price(9, member=True) == 13.5 and price(10, member=True) == 15
    assert price(10, each=1.04) == 9.36
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one module and its test."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "pipeline/__init__.py").touch()  # otherwise Python imports the installed package
    (tmp_path / "pipeline/price.py").write_text(MODULE)
    (tmp_path / "tests/unit/test_price.py").write_text(WEAK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    run("git", "init", "--quiet", "--initial-branch", "main")
    commit()
    return tmp_path


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def commit() -> None:
    run("git", "add", ".")
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x")


def test_only_changed_lines_are_mutated(folder: Path) -> None:
    assert mutants.changed_lines("main") == {}
    (folder / "pipeline/price.py").write_text(MODULE.replace("count * each", "each * count"))
    (folder / "pipeline/new.py").write_text("A = 1\n")
    (folder / "tests/unit/test_price.py").write_text(STRONG)
    assert mutants.changed_lines("main") == {
        Path("pipeline/price.py"): {8},
        Path("pipeline/new.py"): None,
    }
    with pytest.raises(SystemExit, match="error: "):
        mutants.changed_lines("nowhere")


def test_surviving_mutants_are_shown_and_fail_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pipeline/price.py").write_text(MODULE.replace("LIMIT = 10", "LIMIT = 11"))
    assert not mutants.main([], "main", count=9, seed=1)
    output = capsys.readouterr().out
    assert "SURVIVED: pipeline/price.py:3" in output
    assert "    -LIMIT = 11\n    +LIMIT = 23\n" in output
    assert output.endswith("0% noticed\n")
    assert (folder / "pipeline/price.py").read_text() == MODULE.replace("LIMIT = 10", "LIMIT = 11")


def test_detected_mutants_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tests/unit/test_price.py").write_text(STRONG)
    assert mutants.main([Path("pipeline/price.py")], "main", count=1, seed=2)
    output = capsys.readouterr().out
    assert "1 of 13 mutants in 1 modules" in output
    assert output.endswith("100% noticed\n")


def test_tests_that_fail_without_a_mutant_are_an_error(folder: Path) -> None:
    (folder / "tests/unit/test_price.py").write_text("def test(): assert False\n")
    with pytest.raises(SystemExit, match=r"tests/unit/test_price\.py fail without any mutant"):
        mutants.main([Path("pipeline/price.py")], "main", count=1, seed=1)
