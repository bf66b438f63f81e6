"""The command line explains itself, and says what is wrong in one line."""

import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipeline.__main__ import app
from tests.workspace import PROJECT, python

# the table that the network is specified by: layer, output shape, parameters
LAYERS = """
Conv2d-1        [-1, 16, 28, 28]    160
ReLU-2          [-1, 16, 28, 28]      0
Dropout-3       [-1, 16, 28, 28]      0
BatchNorm2d-4   [-1, 16, 28, 28]     32
Conv2d-5        [-1, 16, 28, 28]  2,320
ReLU-6          [-1, 16, 28, 28]      0
Dropout-7       [-1, 16, 28, 28]      0
BatchNorm2d-8   [-1, 16, 28, 28]     32
Conv2d-9        [-1, 16, 28, 28]  2,320
ReLU-10         [-1, 16, 28, 28]      0
MaxPool2d-11    [-1, 16, 14, 14]      0
Conv2d-12       [-1, 16, 12, 12]  2,320
ReLU-13         [-1, 16, 12, 12]      0
Dropout-14      [-1, 16, 12, 12]      0
BatchNorm2d-15  [-1, 16, 12, 12]     32
Conv2d-16       [-1, 16, 10, 10]  2,320
ReLU-17         [-1, 16, 10, 10]      0
Dropout-18      [-1, 16, 10, 10]      0
BatchNorm2d-19  [-1, 16, 10, 10]     32
Conv2d-20         [-1, 16, 8, 8]  2,320
ReLU-21           [-1, 16, 8, 8]      0
BatchNorm2d-22    [-1, 16, 8, 8]     32
Conv2d-23         [-1, 16, 6, 6]  2,320
ReLU-24           [-1, 16, 6, 6]      0
Conv2d-25         [-1, 32, 4, 4]  4,640
Conv2d-26         [-1, 10, 4, 4]    330
AvgPool2d-27      [-1, 10, 1, 1]      0
""".strip().splitlines()

# what a reader of the command's help must find there
EXPLAINED = {
    "backprop": ["no torch", "reports/backprop", "BackPropagation.xlsx", "params.yaml"],
    "fetch": ["data/raw", "mirrors", "params.yaml", "SHA-256"],
    "prepare": ["data/train.safetensors", "data/test.safetensors", "reports/prepare"],
    "train": ["data/train.safetensors", "Killed", "params.yaml"],
    "export": ["artifacts/model.onnx", "reports/export.json", "torch"],
    "evaluate": ["reports/evaluation", "ONNX Runtime", "test set"],
    "gate": ["params.yaml", "Exit status 1", "reports/gate.md"],
    "release": ["models/", "MLflow", "Exit status 1"],
    "summary": ["layer table"],
    "flow": [
        *("[STAGE]...", "stages", "`dvc repro`", "--force", "--set-param", "KEY=VALUE"),
        *("train.epochs=2", ".prefect", "`make prefect`", "PREFECT_API_URL"),
    ],
    "use": ["params.yaml", "params.fast.yaml", "`git checkout params.yaml`"],
    "track": ["MLFLOW_TRACKING_URI", "sqlite:///mlflow.db", "champion"],
    "serve": ["/docs", "mnist-cnn", "/predict", "/metrics", "PIPELINE_SERVE_TOKEN", "--host"],
    "score": ["IDX", ".npy", "Parquet", "folder", "--output", "--normalise", "--model", "goes on"],
    "predict": ["PNG", "TIFF", "IDX", ".npy", "28 x 28", "--normalise", "--output", "--model"],
}


OTHERS = ["summary", "flow", "use", "track", "predict", "score", "serve"]


def plain(text: str) -> str:
    """Text without colours, frames and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def test_commands_are_the_stages_of_the_dag_and_others() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    assert list(group.commands) == [*stages, *OTHERS]
    assert all(stage["cmd"] == f"python -m pipeline {name}" for name, stage in stages.items())


@pytest.mark.parametrize("command", EXPLAINED)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_says_what_a_command_does_reads_and_writes(command: str, option: str) -> None:
    answer = CliRunner().invoke(app, [command, option], env={"COLUMNS": "200"})
    shown = plain(answer.stdout)
    assert answer.exit_code == 0
    assert f"{command} [OPTIONS]" in shown
    assert [word for word in EXPLAINED[command] if word not in shown] == []


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["--help", "nothing"])
def test_help_lists_all_commands_with_a_line_each(tmp_path: Path, arguments: list[str]) -> None:
    result = python(tmp_path, "-m", "pipeline", *arguments, COLUMNS="200")
    shown = result.stdout + result.stderr
    assert result.returncode == (0 if arguments else 2)
    assert "--debug" in shown
    for command in EXPLAINED:
        (line,) = re.findall(rf"^│ {command} +(.*?) *│$", shown, re.MULTILINE)
        assert len(line.split()) >= 4
    _, others = shown.split("─ Other commands ─")
    names = re.findall(r"^│ (\w+)", others, re.MULTILINE)
    assert names == OTHERS


@pytest.mark.parametrize(
    "wrong",
    [["relase"], ["gate", "--thoroughly"], ["flow", "--thoroughly"], ["predict"], ["--quiet"]],
)
def test_what_is_not_understood_is_exit_status_2(tmp_path: Path, wrong: list[str]) -> None:
    result = python(tmp_path, "-m", "pipeline", *wrong, COLUMNS="200")
    assert result.returncode == 2
    assert "Usage: python -m pipeline" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_summary_prints_the_layer_table(tmp_path: Path) -> None:
    result = python(tmp_path, "-m", "pipeline", "summary", COLUMNS="200")
    assert result.returncode == 0
    head, _, *rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (head, *rows)]
    expected = [re.split(r"\s{2,}", row) for row in LAYERS]
    assert cells == [["Layer (type)", "Output Shape", "Param #"], *expected]
    assert result.stdout.splitlines()[-1] == "Total params: 19,210"
    assert sum(int(count.replace(",", "")) for _, _, count in expected) == 19_210


@pytest.mark.parametrize("stage", ["fetch", "gate", "release"])
def test_without_params_a_stage_says_so_in_one_line(tmp_path: Path, stage: str) -> None:
    result = python(tmp_path, "-m", "pipeline", stage, COLUMNS="200")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: params.yaml is missing")
    assert tmp_path.name in line
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = python(tmp_path, "-m", "pipeline", "--debug", "gate", COLUMNS="200")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "params.yaml is missing" in result.stderr.splitlines()[-1]
