"""The command line explains itself, and says what is wrong in one line."""

import itertools
import os
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from requests.utils import get_environ_proxies
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.core import loopback
from pipeline.core.errors import UserError
from pipeline.core.files import existing
from tests.workspace import MODEL, PROJECT, needs_model, python

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

OTHERS = ["summary", "flow", "use", "track", "predict", "score", "serve"]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)
COMMANDS = GROUP.commands


def test_commands_are_the_stages_of_the_dag_and_others() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    assert list(COMMANDS) == [*stages, *OTHERS]
    assert all(stage["cmd"] == f"python -m pipeline {name}" for name, stage in stages.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert len((command.help or "").partition("\n")[0].split()) >= 4
    for parameter in command.params:
        if getattr(parameter, "hidden", False):  # for the pipeline itself
            continue
        assert len((getattr(parameter, "help", None) or "").split()) >= 3, parameter.name
    long, short = (CliRunner().invoke(app, [name, option]) for option in ("--help", "-h"))
    assert (long.exit_code, short.exit_code) == (0, 0)
    assert long.stdout == short.stdout


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_paragraphs_of_help_fill_the_terminal(name: str, columns: int) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": str(columns)}).stdout
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown).partition("╭")[0]
    lines = [line.strip() for line in text.splitlines()]
    for line, following in itertools.pairwise(lines):
        word = following.partition(" ")[0]
        assert not (line and word) or len(f"  {line} {word} ") > columns


def test_every_example_of_the_readme_is_understood() -> None:
    examples = re.findall(r"^\$ python -m pipeline (.*)$", README, re.MULTILINE)
    assert len(examples) >= 8
    for example in examples:
        name, *arguments = shlex.split(example.partition("#")[0].partition(" > ")[0])
        if "<" in arguments:
            arguments = arguments[: arguments.index("<")]
        COMMANDS[name].make_context(name, arguments)  # raises what the user would be told


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["--help", "nothing"])
def test_help_lists_all_commands_with_a_line_each(tmp_path: Path, arguments: list[str]) -> None:
    result = python(tmp_path, "-m", "pipeline", *arguments, COLUMNS="200")
    shown = result.stdout + result.stderr
    assert result.returncode == (0 if arguments else 2)
    assert "--debug" in shown
    for command in COMMANDS:
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


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["flow", "trian"], "dvc.yaml: Stage 'trian' not found inside 'dvc.yaml' file"),
        (["flow", "-S", "train.epoch=1"], "'train.epoch=1': params.yaml has no train.epoch"),
        (["flow", ""], "'': an empty name"),
        (["flow", "-S", ""], "'': not of the form KEY=VALUE"),
        (["use", ""], "'': an empty name"),
    ],
)
def test_a_wrong_name_is_told_at_once_in_one_line(arguments: list[str], line: str) -> None:
    begun = "import sys; sys.modules['prefect'] = None; sys.argv = sys.argv[1:]"  # it may not start
    code = f"{begun}; from pipeline.__main__ import main; main()"
    result = python(PROJECT, "-c", code, "pipeline", *arguments)
    assert result.returncode == 2
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"error: {line}")


def test_in_a_folder_that_is_no_clone_a_flow_does_not_begin(tmp_path: Path) -> None:
    result = python(tmp_path, "-m", "pipeline", "flow")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    where = f"params.yaml is missing in {tmp_path.name}/"
    assert line == f"error: {where}; run from the folder that holds it"
    assert list(tmp_path.iterdir()) == []


@needs_model
def test_from_another_folder_the_released_model_is_that_of_this_checkout(tmp_path: Path) -> None:
    code = "from pipeline.core.paths import released_model; print(released_model())"
    assert python(tmp_path, "-c", code).stdout == f"{MODEL}\n"
    (tmp_path / "models").mkdir()
    shutil.copy(MODEL, tmp_path / "models")
    assert python(tmp_path, "-c", code).stdout == "models/mnist-cnn.onnx\n"


def test_where_no_pipeline_is_a_missing_file_is_not_said_to_come_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as missing:
        existing(Path("models/mnist-cnn.onnx"))
    place = f"models/mnist-cnn.onnx is missing in {tmp_path}"
    assert str(missing.value) == f"{place}; run from the folder that holds params.yaml"
    (tmp_path / "params.yaml").touch()
    with pytest.raises(UserError, match="`dvc repro` makes it"):
        existing(Path("models/mnist-cnn.onnx"))


def test_the_version_is_that_of_the_project(tmp_path: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.stdout == f"{project['name']} {project['version']}\n"
    assert answer.exit_code == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "127.0.0.1,localhost,::1"),
        ("intranet, localhost", "intranet,localhost,127.0.0.1,::1"),
        ("*", "*"),
    ],
)
def test_servers_on_this_machine_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", before)
    monkeypatch.setenv("no_proxy", "")
    loopback.bypass_proxy()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == after
    for url in ("http://127.0.0.1:4200/api", "http://localhost:5000", "http://[::1]:5000"):
        assert get_environ_proxies(url) == {}
    outside = get_environ_proxies("http://mirror.example")
    assert bool(outside) == (before != "*")


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
