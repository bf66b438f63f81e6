"""The wheel in an empty environment, outside any checkout: contents, predictions, and errors."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests
from PIL import Image, ImageDraw

from benchmarks.servers import free_port, server
from pipeline import DISTRIBUTION, __version__
from tests.checkout import PROJECT, needs_model

MEBIBYTE = 2**20
COMMANDS = {  # commands that require more than the extra cpu, and the missing extra
    ("serve",): "serve",
    ("labels", "export", "journal", "labels.csv"): "serve",
    ("score", "digit.png", "--output", "scores.parquet"): "score",
    ("--workspace", "workspace", "flow"): "flow",
    ("predict", "digit.png", "--model", "models:/digits@champion"): "tracking",
    ("--workspace", "workspace", "prepare"): "train",
}


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command without this project on Python's path."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=cwd, env=environment | variables, capture_output=True, text=True
    )


def build(source: Path, folder: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    for target in targets:
        command += ["--target", target]
    built = run(*command, cwd=source)
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains the source distribution and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build(PROJECT, folder, "sdist", "wheel")
    return folder


def wheel(folder: Path) -> Path:
    (found,) = folder.glob("*.whl")
    return found


def install(environment: Path, built: Path, extras: str) -> Path:
    """Create an environment with the wheel and these extras at the locked versions."""
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=built).check_returncode()
    uv = ["uv", "pip", "install", "--quiet", "--compile-bytecode", f"--python={environment}"]
    lock = f"--constraint={PROJECT}/requirements-serve.txt"
    installed = run(*uv, lock, f"{wheel(built)}[{extras}]", cwd=environment)
    if "dns error" in installed.stderr:
        pytest.skip("no package index is reachable")
    assert installed.returncode == 0, installed.stderr
    return environment


@pytest.fixture(scope="module")
def small(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the extra cpu."""
    return install(tmp_path_factory.mktemp("environments") / "small", built, "cpu")


@pytest.fixture(scope="module")
def serving(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the extras cpu and serve."""
    return install(tmp_path_factory.mktemp("environments") / "serving", built, "cpu,serve")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture of a 7, in MNIST's format, and a workspace."""
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line([(7, 7), (20, 7), (12, 22)], fill=255, width=3)
    picture.save(tmp_path / "digit.png")
    (tmp_path / "workspace").mkdir()
    shutil.copy(PROJECT / "params.yaml", tmp_path / "workspace")
    return tmp_path


def test_the_wheel_contains_only_the_package_and_the_release(built: Path) -> None:
    with zipfile.ZipFile(wheel(built)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    code = (PROJECT / "pipeline").rglob("*.*")
    expected = {str(file.relative_to(PROJECT)): file for file in code if file.suffix != ".pyc"}
    released = {file for file in PROJECT.glob("models/[!.]*") if file.is_file()}
    released -= {PROJECT / "models/release.json", PROJECT / "models/ledger.jsonl"}
    expected |= {f"pipeline/released/{file.name}": file for file in released}
    metadata = f"{DISTRIBUTION.replace('-', '_')}-{__version__}.dist-info/"
    assert {name for name in files if not name.startswith(metadata)} == expected.keys()
    assert all(files[name] == file.read_bytes() for name, file in expected.items())


def test_the_source_distribution_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    shutil.unpack_archive(source, tmp_path)
    build(tmp_path / source.name.removesuffix(".tar.gz"), tmp_path, "wheel")
    assert wheel(tmp_path).read_bytes() == wheel(built).read_bytes()


def test_a_small_environment_is_small(small: Path) -> None:
    size = sum(file.lstat().st_size for file in small.rglob("*") if not file.is_dir())
    assert size < 450 * MEBIBYTE


@needs_model
def test_it_predicts_from_any_folder(small: Path, folder: Path) -> None:
    commands = [small / "bin/python", "-m", "pipeline"], [small / f"bin/{DISTRIBUTION}"]
    for command in commands:
        answer = run(*command, "predict", "digit.png", "--format", "csv", cwd=folder)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.splitlines()[1].startswith("digit.png,7,")
    code = "from pipeline.inference import Classifier; print(Classifier().sha256)"
    shown = run(small / "bin/python", "-c", code, cwd=folder)
    assert shown.stdout.strip() in (PROJECT / "models/SHA256SUMS").read_text(), shown.stderr


@needs_model
def test_it_serves_from_any_folder(
    serving: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(serving / f"bin/{DISTRIBUTION}"), "serve", "--port", str(port)]
    with server(command, f"{address}/v2/health/ready", {"PYTHONPATH": ""}):
        picture = (folder / "digit.png").read_bytes()
        assert requests.post(f"{address}/predict", picture, timeout=60).json()["digit"] == 7


@pytest.mark.parametrize(("command", "extra"), COMMANDS.items())
def test_a_command_names_the_missing_extra(
    small: Path, folder: Path, command: tuple[str, ...], extra: str
) -> None:
    assert_names_extra(run(small / f"bin/{DISTRIBUTION}", *command, cwd=folder), extra)


def assert_names_extra(result: subprocess.CompletedProcess[str], extra: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert f'pip install ".[{extra}]"' in result.stderr


def test_without_onnx_runtime_the_error_names_both_extras(small: Path, folder: Path) -> None:
    (runtime,) = small.glob("lib/python*/site-packages/onnxruntime")
    runtime.rename(small / "onnxruntime")
    try:
        result = run(small / "bin/python", "-m", "pipeline", "predict", "digit.png", cwd=folder)
    finally:
        (small / "onnxruntime").rename(runtime)
    assert_names_extra(result, "cpu")
    assert "gpu" in result.stderr


def test_the_tests_run_against_the_installed_project(tmp_path: Path) -> None:
    shown = run(sys.executable, "-m", "pipeline", "--version", cwd=tmp_path)
    assert shown.stdout == f"{DISTRIBUTION} {__version__}\n", shown.stderr
