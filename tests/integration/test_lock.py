"""The locked environment is complete, and dvc.lock in git matches the files and params in git."""

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import files
from pathlib import Path

import pytest

from pipeline.orchestration import lock
from tests.checkout import PROJECT, kept, python

DRIVER = {"libcuda.so.1"}  # part of NVIDIA's driver, not of any package
TENSORRT = "libonnxruntime_providers_tensorrt.so"  # the project does not use TensorRT
RECORDED = {
    "dvc.yaml": """
stages:
  make:
    cmd: cat code > data
    params: [epochs, versions.json: [torch]]
    deps: [code]
    outs: [data]
  tell:
    cmd: cat data > report
    deps: [data]
    outs: [report: {cache: false}]
""",
    "params.yaml": "epochs: 1\n",
    "requirements.txt": "torch==2.15.0 \\\n",
    "versions.json": '{"torch": "2.15.0"}',
    "code": "one",
}


def libraries(package: str) -> list[Path]:
    """The shared libraries of an installed package."""
    found = (Path(file.locate()) for file in files(package) or ())
    return [path for path in found if re.search(r"\.so(\.|$)", path.name)]


linux = pytest.mark.skipif(sys.platform != "linux", reason="requires CUDA on Linux")


@linux
@pytest.mark.parametrize("package", ["onnxruntime-gpu", "torch"])
def test_a_gpu_requires_nothing_but_nvidias_driver(package: str) -> None:
    folders = Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib")
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}
    needing = [path for path in libraries(package) if path.name != TENSORRT]
    shown = subprocess.run(["ldd", *needing], env=environment, capture_output=True, text=True)
    assert shown.stdout.count("libc.so.6 =>") >= 4, shown.stderr
    assert set(re.findall(r"(\S+) => not found", shown.stdout)) <= DRIVER


@linux
def test_onnx_runtime_finds_all_cuda_libraries() -> None:
    loaded = python(PROJECT, "-c", "import onnxruntime; onnxruntime.preload_dlls()")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == ""  # ONNX Runtime prints what it fails to load


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stages that have run: one output is cached by DVC, the other a report."""
    folder = tmp_path_factory.mktemp("recorded") / "project"
    folder.mkdir()
    for name, text in RECORDED.items():
        (folder / name).write_text(text)
    for command in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        python(folder, "-m", "dvc", *command).check_returncode()
    return folder


@pytest.fixture
def checkout(recorded: Path, tmp_path: Path) -> Path:
    """A copy as git would check it out: without DVC's cache and the cached output."""
    copy = Path(shutil.copytree(recorded, tmp_path / "checkout"))
    shutil.rmtree(copy / ".dvc/cache")
    (copy / "data").unlink()
    return copy


def check(checkout: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The output of the check: empty, with exit status 0, if all files match dvc.lock."""
    status = lock.main(["--workspace", str(checkout), "--check"])
    said = capsys.readouterr().err
    assert status == (1 if said else 0)
    return said


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_clone_agrees_with_its_locks_without_data(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(checkout, capsys) == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("code", "one", "two", "make (code)"),
        ("report", "one", "two", "tell (report)"),
        ("params.yaml", "epochs: 1", "epochs: 2", "make (params.yaml: epochs)"),
        ("dvc.yaml", "cat data", "cat  data", "tell (changed command)"),
        ("versions.json", "2.15.0", "2.15.1", "make (versions.json: torch)"),
    ],
)
def test_a_changed_file_asks_to_rerun_the_stage(
    checkout: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, said: str
) -> None:
    """Otherwise the figures in git are not those of the code in git."""
    (checkout / file).write_text((checkout / file).read_text().replace(old, new))
    found = check(checkout, capsys).splitlines()[-1]
    assert found.startswith("error: dvc.lock ")
    assert "run `dvc repro`" in found
    assert found.endswith(f"stages: {said}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_the_check_is_the_same_in_every_folder_of_the_checkout(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "code").write_text("two")
    (checkout / "report").write_text("two")
    said = check(checkout, capsys)
    assert said.endswith("stages: make (code), tell (report)\n")
    (checkout / "docs").mkdir()
    for folder in (checkout, checkout / "docs"):
        monkeypatch.chdir(folder)
        assert lock.main(["--check"]) == 1
        assert capsys.readouterr().err == said


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_missing_report_is_reported(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "report").unlink()
    assert check(checkout, capsys).endswith("stages: tell (report)\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_pin_changed_on_its_own_is_reported_and_then_reruns_the_stage(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dependabot changes only the pin; `make repro`, also run by the gate, does the rest."""
    (checkout / "requirements.txt").write_text("torch==2.15.1 \\\n")
    assert "error: versions.json " in check(checkout, capsys)
    assert lock.main(["--workspace", str(checkout)]) == 0
    assert "stages: make (versions.json: torch)" in check(checkout, capsys)


def test_a_clone_has_the_same_bytes_even_if_git_converts_line_endings(tmp_path: Path) -> None:
    """Otherwise scripts fail with `bash\\r`, and dvc.lock and SHA256SUMS no longer match."""
    kept("Makefile")  # skips without git
    clone = tmp_path / "clone"
    for command in (
        ["git", "clone", "--quiet", "--shared", "--no-checkout", str(PROJECT), str(clone)],
        ["git", "-C", str(clone), "config", "core.autocrlf", "true"],
        ["git", "-C", str(clone), "reset", "--quiet", "--hard"],
    ):
        subprocess.run(command, check=True)

    git = functools.partial(subprocess.run, cwd=clone, check=True, capture_output=True, text=True)
    staged = git(["git", "ls-files", "--stage"]).stdout.splitlines()
    committed = {name: line.split()[1] for line, name in (each.split("\t") for each in staged)}
    hashed = git(
        ["git", "hash-object", "--no-filters", "--stdin-paths"], input="\n".join(committed)
    )
    assert dict(zip(committed, hashed.stdout.split(), strict=True)) == committed
