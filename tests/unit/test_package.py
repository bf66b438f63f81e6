"""pyproject.toml declares what the code imports, and the locks contain what it declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pipeline import DISTRIBUTION, __version__
from pipeline.core.extras import EXTRAS, OF_PACKAGES
from tests.checkout import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
LOCK, SERVE_LOCK = (
    (PROJECT / name).read_text() for name in ("requirements.txt", "requirements-serve.txt")
)
NEVER_IMPORTED = {  # programs, plug-ins and version limits
    ("flow", "fastapi"),
    ("flow", "prefect-docker"),
    ("ray", DISTRIBUTION),
    ("serve", "dumb-init"),
    ("serve", "uvloop"),
    ("sign", DISTRIBUTION),
    ("sign", "pyopenssl"),
    ("tracking", "flask-wtf"),
    ("tracking", "pip"),
    ("tracking", "psycopg2-binary"),
    ("train", "onnxscript"),
}
PREDICT = {
    "batch",
    "cli",
    "config",
    "core",
    "inference",
    "pictures",
}  # the packages that `predict` uses
DISTRIBUTIONS = {
    **packages_distributions(),
    "onnxruntime": ["onnxruntime"],
}  # from onnxruntime-gpu in this environment
FOLDERS = sorted(
    path.stem
    for path in (PROJECT / "pipeline").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    return {normalised(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


BASE = named(PYPROJECT["project"]["dependencies"])
PROVIDED = {
    extra: named(requirements)
    for extra, requirements in PYPROJECT["project"]["optional-dependencies"].items()
}


def imports(folder: str) -> Iterator[tuple[Path, str]]:
    """Each module of a folder or file of pipeline/, with each package that it imports."""
    path = PROJECT / "pipeline" / folder
    for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module]
            else:
                continue
            for name in (module.partition(".")[0] for module in found):
                if name != "pipeline" and name not in sys.stdlib_module_names:
                    yield file, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_import_is_provided_by_an_extra(folder: str) -> None:
    missing = {
        (file.name, package)
        for file, package in imports(folder)
        if not {normalised(name) for name in DISTRIBUTIONS[package]}
        & (BASE | PROVIDED.get(OF_PACKAGES.get(package) or EXTRAS.get(folder, ""), set()))
    }
    assert missing == set()


def test_every_declared_dependency_is_used() -> None:
    used: set[tuple[str, str]] = set()
    for folder in FOLDERS:
        for _, package in imports(folder):
            extra = OF_PACKAGES.get(package) or EXTRAS.get(folder, "")
            names = {normalised(name) for name in DISTRIBUTIONS[package]}
            used |= {(extra, name) for name in names}
            if folder in PREDICT:
                used |= {("base", name) for name in names}
    declared = {("base", name) for name in BASE}
    for extra in PROVIDED.keys() - {"dev", "gpu"}:
        declared |= {(extra, name) for name in PROVIDED[extra]}
    assert declared - used == NEVER_IMPORTED


def test_the_version_is_defined_in_one_place() -> None:
    assert PYPROJECT["project"]["name"] == DISTRIBUTION
    assert "version" not in PYPROJECT["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def pins(lock: str) -> set[tuple[str, str]]:
    return set(re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+)", lock))


def test_the_locks_contain_every_dependency_and_agree() -> None:
    locked, serving = ({name for name, _ in pins(lock)} for lock in (LOCK, SERVE_LOCK))
    extras = set(
        re.findall(r"(?m)^EXTRAS := (.*?) #", (PROJECT / "Makefile").read_text())[0].split()
    )
    assert extras == PROVIDED.keys() - {"cpu"}
    assert BASE.union(*(PROVIDED[extra] for extra in extras)) - {DISTRIBUTION} <= locked
    assert (
        BASE | PROVIDED["cpu"] | PROVIDED["score"] | PROVIDED["serve"] | PROVIDED["verify"]
        <= serving
    )
    assert pins(SERVE_LOCK) <= pins(LOCK)


@pytest.mark.parametrize("lock", [LOCK, SERVE_LOCK], ids=["requirements", "requirements-serve"])
def test_locks_have_hashes_and_name_no_registry(lock: str) -> None:
    entries = re.split(r"(?m)^(?=[\w.-]+==)", lock)[1:]
    assert len(entries) == len(pins(lock)) > 30
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
