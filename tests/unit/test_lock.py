"""versions.json, which tells DVC the locked versions, and the packages of each stage."""

import ast
import json
import re
import runpy
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipeline.core.workspace import Workspace
from pipeline.orchestration import lock
from tests.checkout import PROJECT

STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
TASK = yaml.safe_load((PROJECT / "params.yaml").read_text())["task"]
PACKAGES = packages_distributions()
# imported, but their versions do not affect results; fetch verifies its files
NO_RESULT = {"filelock", "pooch", "psutil", "requests", "tqdm", "urllib3"}


def test_versions_json_matches_the_lock() -> None:
    """Otherwise a pull request that only changes a pin would pass the gate without training."""
    locked = lock.locked_versions((PROJECT / "requirements.txt").read_text())
    assert json.loads((PROJECT / "versions.json").read_text()) == locked, "run `make repro`"


def test_every_locked_version_of_a_package_is_recorded() -> None:
    """Versions can differ by Python version or platform."""
    text = (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:01\n"
        "Ruamel.Yaml==0.18.1\n# torch==1.0.0\n"
    )
    assert lock.locked_versions(text) == {"numpy": "2.4.6, 2.5.5", "ruamel-yaml": "0.18.1"}


def imported(file: Path) -> set[str]:
    """The third-party packages that a module imports, by their names in the lock."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    ours = found - sys.stdlib_module_names - {"pipeline"}
    return {name.lower() for module in ours for name in PACKAGES[module]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_packages_it_imports(stage: str) -> None:
    """Otherwise a new version would leave the old result in place, unmeasured."""
    (tracked,) = [
        params["versions.json"] for params in STAGES[stage]["params"] if isinstance(params, dict)
    ] or [[]]
    names = [name.replace("${task}", TASK) for name in STAGES[stage]["deps"]]
    code = [PROJECT / name for name in names if name.endswith(".py")]
    assert set().union(*map(imported, code)) - NO_RESULT <= set(tracked)
    assert tracked == sorted(set(tracked))


def check(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the check on this workspace; returns the exit status and stderr."""
    (root / "params.yaml").touch()
    try:
        status = lock.main(["--workspace", str(root), *arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, capsys.readouterr().err


def test_mismatched_or_conflicted_versions_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    workspace.requirements.write_text("torch==2.15.0 \\\n")
    for written in (None, "<<<<<<< HEAD\n"):
        if written:
            workspace.versions.write_text(written)
        status, said = check(tmp_path, capsys, "--check")
        assert status == 1
        assert said.startswith("error: versions.json ")
    assert check(tmp_path, capsys) == (0, "")
    assert json.loads(workspace.versions.read_text()) == {"torch": "2.15.0"}


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_missing_lock_is_reported_in_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = f"error: {tmp_path / 'requirements.txt'} is missing\n"
    assert check(tmp_path, capsys, *arguments) == (2, missing)


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lock.main(["check"])
    assert ended.value.code == 2
    assert "--check" in capsys.readouterr().err


def test_without_dvc_versions_are_written_and_the_check_reports_the_missing_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without the extra `flow`; the program runs as `python -m` runs it."""
    Workspace(tmp_path).requirements.write_text("torch==2.15.0 \\\n")
    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr(pipeline, "orchestration", pipeline.orchestration)  # restored at the end
    for package in ("dvc", "hydra", "prefect"):
        for module in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith("pipeline.orchestration")]:
        monkeypatch.delitem(sys.modules, module)
    results = []
    for options in ([], ["--check"]):
        monkeypatch.setattr(sys, "argv", ["lock", "--workspace", str(tmp_path), *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("pipeline.orchestration.lock", run_name="__main__")
        results.append((ended.value.code, capsys.readouterr().err))
    (written, nothing), (refused, said) = results
    assert (written, nothing, refused) == (0, "", 2)
    assert re.fullmatch("error: .*dvc.*flow.*\n", said)
