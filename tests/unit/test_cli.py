"""The command line documents itself, and errors are one line and an exit status."""

import importlib.util
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest
import typer
import yaml
from PIL import Image
from requests.utils import get_environ_proxies
from typer.testing import CliRunner

from pipeline import DISTRIBUTION, __version__, cli
from pipeline.cli import app
from pipeline.core import extras, loopback
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.workspace import Workspace
from pipeline.registry import lookup
from pipeline.tracking import show
from tests.checkout import PROJECT

OTHERS = [
    *("summary", "flow", "use", "track", "predict", "score", "serve", "labels"),
    *("releases", "promote", "rollback", "keys", "monitor"),
]
PAGES = [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")]
GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)
COMMANDS = GROUP.commands


def test_every_stage_is_a_command() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    assert [*stages] == [name for name in COMMANDS if name not in OTHERS]
    assert COMMANDS.keys() == {*stages, *OTHERS}
    assert all(stage["cmd"] == f"python -m pipeline {name}" for name, stage in stages.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert len((command.help or "").partition("\n")[0].split()) >= 4
    for parameter in command.params:
        if getattr(parameter, "hidden", False):  # for the pipeline itself
            continue
        assert len((getattr(parameter, "help", None) or "").split()) >= 3, parameter.name
    long, short = (CliRunner().invoke(app, [name, option]) for option in ("--help", "-h"))
    assert (long.exit_code, short.exit_code) == (0, 0)
    assert long.stdout == short.stdout


def test_every_example_in_the_documentation_parses() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES).replace("\\\n", "")
    examples = re.findall(r"^\$ (?:gated-mnist|python -m pipeline) (.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        name, *arguments = shlex.split(example.partition("#")[0].partition(" > ")[0])
        if name.startswith("-"):  # a global option such as --version
            continue
        if "<" in arguments:
            arguments = arguments[: arguments.index("<")]
        COMMANDS[name].make_context(name, arguments)  # raises usage errors


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["--help", "nothing"])
def test_help_lists_every_command_on_one_line(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == (0 if arguments else 2)
    assert "--debug" in result.output
    for command in COMMANDS:
        (line,) = re.findall(rf"^│ {command} +(.*?) *│$", result.output, re.MULTILINE)
        assert len(line.split()) >= 4


def test_version_prints_name_and_version_of_the_distribution() -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.stdout) == (0, f"{DISTRIBUTION} {__version__}\n")


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, list[str]]]]:
    """Run the program with these arguments; returns its exit status and the lines of stderr."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.delenv("PIPELINE_DEBUG", raising=False)
    monkeypatch.setenv("NO_PROXY", "")

    def run(*arguments: str, name: str = "pipeline/__main__.py") -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err.splitlines()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "wrong",
    [["relase"], ["gate", "--thoroughly"], ["flow", "--thoroughly"], ["predict"], ["--quiet"]],
)
def test_usage_errors_exit_with_status_2(
    program: Callable[..., tuple[int, list[str]]], wrong: list[str]
) -> None:
    status, said = program(*wrong)
    assert status == 2
    assert any("Usage: python -m pipeline" in line for line in said)


def test_usage_and_hint_show_the_program_as_called(
    program: Callable[..., tuple[int, list[str]]],
) -> None:
    for path, name in (
        ("/project/pipeline/__main__.py", "python -m pipeline"),
        (f"/venv/bin/{DISTRIBUTION}", DISTRIBUTION),
        (f"venv/Scripts/{DISTRIBUTION}.exe", DISTRIBUTION),
    ):
        said = "\n".join(program("predict", name=path)[1])
        assert f"Usage: {name} predict" in said
        assert f"Try '{name} predict -" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_the_help_parse(name: str) -> None:
    calls = re.findall(r"`python -m pipeline (.*?)`", COMMANDS[name].epilog or "")
    assert bool(calls) == (name in OTHERS and name != "summary")
    for command, *arguments in map(shlex.split, calls):
        assert command == name
        COMMANDS[name].make_context(name, arguments)


def test_without_mlflow_its_interface_reports_the_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(show, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        show.main()
    assert ended.value.code == 2
    assert re.fullmatch("error: .*mlflow.*tracking.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["gate", "release", "flow", "track", "releases", "rollback"])
def test_a_command_outside_a_workspace_is_refused_in_one_line(
    program: Callable[..., tuple[int, list[str]]],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for options, said in (([], f"no params.yaml in {tmp_path}"), (["--workspace", "a"], "a is no")):
        status, (line,) = program(*options, name)
        assert status == 2
        assert line.startswith("error: ")
        assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [["predict", "a.png"], ["score", "a.png", "--output", "a.parquet"], ["serve", "--port", "0"]],
    ids=["predict", "score", "serve"],
)
def test_mlflow_models_are_looked_up_in_the_given_workspace(
    program: Callable[..., tuple[int, list[str]]],
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lookup, "_connected", asked := Mock(side_effect=UserError("asked")))
    Image.new("L", (28, 28)).save("a.png")
    Path("project").mkdir()
    Path("project/params.yaml").touch()
    model = ["--model", "models:/digits@champion"]
    assert program("--workspace", "project", *command, *model)[0] == 2
    assert Workspace(Path("project")) in asked.call_args.args


@pytest.mark.parametrize("option", [["--canary", "5"], ["--tolerate", "1"]])
def test_a_canary_requires_a_challenger(
    program: Callable[..., tuple[int, list[str]]], option: list[str]
) -> None:
    status, (*_, line) = program("serve", *option)
    assert status == 2
    assert "--challenger" in line


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the stage gate raise this error."""

    def run(*_: object) -> None:
        raise error

    stage = ModuleType("pipeline.stages.gate")
    stage.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.stages.gate", stage)
    monkeypatch.setattr("pipeline.stages.gate", stage, raising=False)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("data/raw is empty: run fetch"), 2, "error: data/raw is empty: run fetch"),
        (RefusedError("accuracy is too low"), 1, "error: accuracy is too low"),
        (OSError(28, "No space left on device", "a"), 2, "error: No space left on device: a"),
    ],
)
def test_an_expected_error_is_one_line_or_with_debug_a_traceback(
    program: Callable[..., tuple[int, list[str]]],
    error: Exception,
    status: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    raising(error, monkeypatch)
    assert program("--workspace", str(tmp_path), "gate") == (status, [line])
    with pytest.raises(type(error)):
        program("--debug", "--workspace", str(tmp_path), "gate")


def test_a_defect_gives_a_traceback(
    program: Callable[..., tuple[int, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    for defect in (KeyError("accuracy"), ModuleNotFoundError("pipeline.nowhere")):
        raising(defect, monkeypatch)
        with pytest.raises(type(defect)):
            program("--workspace", str(tmp_path), "gate")


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("pipeline.inference.providers", "onnxruntime", "cpu"),
        ("pipeline.training.trainer", "torch", "train"),
        ("pipeline.core.figures", "matplotlib", "train"),
        ("pipeline.backprop.workbook", "xlsxwriter", "train"),
        ("pipeline.service.server", "uvicorn", "serve"),
        ("pipeline.tracking.publisher", "mlflow", "tracking"),
        ("pipeline.orchestration.flow", "prefect", "flow"),
        ("pipeline.batch.worker", "pyarrow", "score"),
    ],
)
def test_a_missing_package_is_reported_with_its_extra(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = extras.advice(import_error(module))
    assert said is not None
    assert said.startswith(f"the package {package} is not installed: ")
    assert f'pip install ".[{extra}]"' in said


def import_error(module: str) -> ModuleNotFoundError:
    """Run a module's code as on its first import; returns the error."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ModuleNotFoundError) as raised:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return raised.value


@pytest.mark.parametrize(
    "source",
    ["import pipeline.nowhere", "from pipeline.core import files; import pipeline.core.nowhere"],
)
def test_a_missing_module_of_the_project_is_a_defect(source: str) -> None:
    with pytest.raises(ModuleNotFoundError) as raised:
        exec(compile(source, "a module", "exec"), {"__name__": "pipeline.training.trainer"})
    assert extras.advice(raised.value) is None


def test_a_missing_dependency_of_another_package_suggests_no_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as raised:
        exec(compile("import tensors_of_torch", "torch", "exec"), {"__name__": "torch.tensors"})
    assert extras.advice(raised.value) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "127.0.0.1,localhost,::1"),
        ("intranet, localhost", "intranet,localhost,127.0.0.1,::1"),
        ("*", "*"),
    ],
)
def test_local_servers_bypass_the_proxy(
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
