"""The program itself: what it imports, how it fails without Prefect, and its exit status."""

from pathlib import Path

import pytest

from pipeline.cli.app import RARELY
from tests.checkout import PROJECT, python
from tests.training_sets import small_workspace

SLOW = {
    *("torch", "mlflow", "prefect", "dvc", "matplotlib", "sklearn", "onnx", "pandas", "pyarrow"),
    *("fastapi", "uvicorn", "ray", "hydra", "requests", "onnxruntime", "PIL", "sympy", "triton"),
    *("scipy.stats", "scipy.ndimage", "torch._dynamo", "torch._inductor"),
}
METRICS = {"sklearn", "scipy.stats", "scipy.ndimage", "pandas", "pyarrow"}  # scikit-learn's
STAGES = {  # the slow imports that a stage requires
    "backprop": {"matplotlib", "PIL"},
    "fetch": {"requests"},
    "prepare": {"matplotlib", "PIL"},
    "collect": {"matplotlib", "PIL"},  # with a journal also pyarrow and cleanlab
    "train": {"torch"},
    "detect": {"torch", "matplotlib", "PIL", "scipy.ndimage"},
    "calibrate": {"torch", "scipy.stats", "scipy.ndimage"},
    "export": {"torch", "onnx", "onnxruntime"},
    "evaluate": {"torch", "onnxruntime", "matplotlib", "PIL", *METRICS},
    "gate": set[str](),
    "release": {"onnxruntime", "scipy.stats", "scipy.ndimage"},
}
LOADED = """
import sys
sys.argv = ["pipeline", *sys.argv[1:]]
from pipeline.cli import main
try:
    main()
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
IMPORTED = """
import sys
from importlib import import_module
import pipeline.cli
import_module(f"pipeline.stages.{sys.argv[1]}")
print(*sys.modules)
"""
COLLECTION = """
import atexit, gc, sys
sys.argv = ["pipeline", *sys.argv[1:]]
atexit.register(lambda: print(gc.isenabled(), gc.get_threshold()[0]))  # runs last
from pipeline.cli import main
main()
"""
# fails on import of Prefect, which takes seconds
WITHOUT_PREFECT = """
import sys
sys.modules["prefect"] = None
sys.argv = sys.argv[1:]
from pipeline.cli import main
main()
"""


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    loaded = python(tmp_path, "-c", LOADED, "--help").stderr.split()
    assert "typer" in loaded
    assert SLOW & {*loaded} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_the_slow_packages_that_it_requires(
    stage: str, tmp_path: Path
) -> None:
    loaded = python(tmp_path, "-c", IMPORTED, stage).stdout.split()
    assert f"pipeline.stages.{stage}" in loaded
    assert SLOW & {*loaded} == STAGES[stage]


def test_training_does_not_import_the_compiler_of_torch(tmp_path: Path) -> None:
    workspace = small_workspace(tmp_path)
    loaded = python(tmp_path, "-c", LOADED, "train").stderr.split()
    assert workspace.weights.exists()
    assert SLOW & {*loaded} == STAGES["train"]


@pytest.mark.parametrize("command", ["gate", "track", "flow"])
def test_a_command_of_many_imports_collects_garbage_rarely(command: str, tmp_path: Path) -> None:
    """There is no workspace, so it fails."""
    said = python(tmp_path, "-c", COLLECTION, command).stdout.split()
    assert said == ["False", str(RARELY)]


def test_a_command_on_data_of_any_size_collects_garbage_as_usual(tmp_path: Path) -> None:
    enabled, threshold = python(tmp_path, "-c", COLLECTION, "predict", "missing.png").stdout.split()
    assert enabled == "True"
    assert int(threshold) < RARELY


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flow", "trian"], "dvc.yaml has no stage 'trian'"),
        (["flow", ""], "dvc.yaml has no stage ''"),
        (["flow", "-S", "train.epoch=1"], "params.yaml has no train.epoch"),
        (["flow", "-S", "task=pipeline/letters"], "task: pipeline/letters is "),
        (["flow", "-S", ""], "'': not of the form KEY=VALUE"),
        (["use", ""], "empty"),
        (["flow"], "the package prefect is not installed: install the extra flow "),
    ],
)
def test_flow_reports_bad_arguments_in_one_line_before_prefect_starts(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    """The command runs from another folder."""
    options = ["--workspace", str(PROJECT)]
    result = python(tmp_path, "-c", WITHOUT_PREFECT, "pipeline", *options, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = python(tmp_path, "-m", "pipeline", "--debug", "gate")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "params.yaml" in result.stderr.splitlines()[-1]
