"""The program itself: what it imports, how it fails without Prefect, and its exit status."""

from pathlib import Path

import pytest

from tests.checkout import PROJECT, python

SLOW = {
    *("torch", "mlflow", "prefect", "dvc", "matplotlib", "sklearn", "onnx", "pandas", "pyarrow"),
    *("fastapi", "uvicorn", "ray", "hydra", "requests", "onnxruntime", "PIL"),
}
LOADED = """
import sys
sys.argv = ["pipeline", "--help"]
from pipeline.cli import main
try:
    main()
except SystemExit:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
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
    loaded = python(tmp_path, "-c", LOADED).stderr.split()
    assert "typer" in loaded
    assert SLOW & {*loaded} == set()


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
