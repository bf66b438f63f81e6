"""Imports point one way, modules stay short, and only pipeline/mnist is specific to MNIST."""

import ast
import re
import sys
from collections.abc import Iterator

import grimp
import pytest
from importlinter import configuration
from importlinter.application.use_cases import lint_imports

from tests.checkout import PROJECT

PACKAGE = PROJECT / "pipeline"
LINES = 250
BARE = {"torch", "numpy", "safetensors"}  # all that a bare GPU machine has
TASK = re.compile(r"mnist|digit|\b28\b|19,?210|\b784\b", re.IGNORECASE)
# the distribution, the Prefect flow, an example in a message, a method of str
ALLOWED = re.compile(r"gated-mnist|mnist[-_]release|such as pipeline/mnist|isdigit")
FOLDERS = ("pipeline/core/extras.py", "mnist")  # it names every folder of pipeline/


def test_imports_point_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The contracts are in pyproject.toml."""
    configuration.configure()  # its command line would disable the loggers of other tests
    kept = lint_imports(str(PROJECT / "pyproject.toml"), cache_dir=None, no_logo=True)
    assert kept, capsys.readouterr().out.partition("Broken contracts")[2]


@pytest.mark.parametrize("package", ["training", "mnist"])
def test_training_requires_only_torch_numpy_and_safetensors(package: str) -> None:
    graph = grimp.build_graph(
        "pipeline",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    imported = graph.find_upstream_modules(f"pipeline.{package}", as_package=True)
    external = {name for name in imported if not name.startswith("pipeline")}
    assert external - sys.stdlib_module_names <= BARE


def test_modules_stay_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}


def test_only_the_task_package_is_specific_to_the_task() -> None:
    """backprop is a separate task; its digits are those of numbers."""
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in ("mnist", "backprop")
        for line, text in names_and_literals(ast.parse(path.read_text()))
        if TASK.search(ALLOWED.sub("", text))
        and (path.relative_to(PROJECT).as_posix(), text) != FOLDERS
    ]
    assert found == [], "\n".join(found)


def names_and_literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every identifier and literal of a module except docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body[0].value.value = ""  # type: ignore[attr-defined]
            yield getattr(node, "lineno", 1), getattr(node, "name", "")
        elif isinstance(node, ast.Constant):
            yield node.lineno, str(node.value)
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.lineno, node.arg or ""
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{getattr(node, 'module', '')} {alias.name} {alias.asname}"
