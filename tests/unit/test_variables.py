"""Every environment variable in code, scripts and messages is in the registry."""

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from pipeline.core.variables import all_variables

ROOT = Path(__file__).parents[2]
NAMES = {variable.name for variable in all_variables()}
# in messages, docstrings and scripts: the prefixes of variables that people and programs set
MENTION = re.compile(
    r"(?<![\w{])((?:PIPELINE|MLFLOW|DVC|GITHUB|CONTAINER|COMPOSE|RAY|ORT|CUBLAS|OMP|GOMP)_[A-Z_]*[A-Z])\b"
)
TO_CHILDREN = {  # set for MLflow's server, never read
    "MLFLOW_LOGGING_LEVEL",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION",
}
CODE = sorted((ROOT / "pipeline").rglob("*.py"))
SCRIPTS = [ROOT / "docker" / name for name in ("build", "run", "settings.sh", "stack")]


def read_by_name(tree: ast.AST) -> Iterator[str]:
    """The variables that a module reads directly, bypassing the registry."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(
                value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))
            ):
                yield name
            case ast.Call(
                func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=str(name)), *_]
            ):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ")),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
            case ast.Compare(
                left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr="environ")]
            ):
                yield name


def test_code_reads_the_environment_through_the_registry() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in CODE
        if (names := list(read_by_name(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert not found


def test_every_variable_mentioned_in_code_is_registered() -> None:
    mentioned = {
        name
        for path in CODE
        if path.name != "variables.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in MENTION.findall(node.value)
    }
    assert mentioned - TO_CHILDREN <= NAMES


def test_every_variable_read_by_scripts_is_registered() -> None:
    """`${NAME:-...}` and `${NAME:+...}`: how the scripts read optional variables."""
    read = {
        name
        for path in SCRIPTS
        for name in re.findall(r"\$\{([A-Z][A-Z_]+):?[-+?]", path.read_text(encoding="utf-8"))
    }
    assert read
    assert read <= NAMES


def test_every_variable_of_the_stack_is_registered() -> None:
    text = (ROOT / "docker/compose.yaml").read_text(encoding="utf-8")
    taken = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert taken
    assert taken <= NAMES


def test_names_in_the_registry_are_unique() -> None:
    assert len(NAMES) == len(all_variables())
    assert all(variable.meaning.endswith(".") for variable in all_variables())


def test_a_variable_has_its_default_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = next(v for v in all_variables() if v.name == "ORT_DISABLE_TELEMETRY")
    monkeypatch.delenv(variable.name, raising=False)
    assert variable.get() is None
    variable.set_default()
    assert variable.get() == "1"
    monkeypatch.setenv(variable.name, "0")
    variable.set_default()
    assert variable.get() == "0"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, None),
    ],
)
def test_openmp_spins_for_a_short_time_unless_the_user_decides(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    importlib.reload(pipeline)
    assert os.environ.get("GOMP_SPINCOUNT") == expected
