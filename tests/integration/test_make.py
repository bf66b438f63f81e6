"""The Makefile's behaviour under obstacles, with stubs for the programs that it calls."""

import fcntl
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.checkout import PROJECT

MAKEFILE = (PROJECT / "Makefile").read_text()
REMOVED = ["data", "artifacts", ".dvc/cache"]
ENVIRONMENTS = {
    "test": ".venv",
    "serve": ".venv-serve",
}  # a target, and the environment it requires
environments = pytest.mark.parametrize(("target", "environment"), ENVIRONMENTS.items())
PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version} ;;
  *) echo "$@" >> "{log}"; exit 7 ;;
esac
"""
PREFECT = """#!/bin/sh
case "$1 $2" in
  "server start") test -z "$DEAD" && exec sleep 100 ;;
  "work-pool ls") test -z "$DEAD" ;;
  "automation inspect") false ;;
  "deploy --all") echo "start a worker in a separate terminal"; test -z "$REFUSED" ;;
  "worker start") echo "the worker for $PREFECT_API_URL" ;;
  *) echo "start a worker in a separate terminal" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile and the locks, but without an environment."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name in ("requirements.txt", "requirements-serve.txt"):
        (tmp_path / name).touch()
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def python(path: Path, version: str) -> Path:
    """A stub that reports its version; any other call is logged and fails."""
    return program(path, PYTHON.format(version=version, log=path.parents[1] / "log"))


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with the folder's bin/ first on the path and without the tests' own environment."""
    path = os.pathsep.join([str(folder / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PORT", "MAKEFLAGS")}
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env=kept | {"PATH": path} | variables,
        capture_output=True,
        text=True,
    )


def mark_installed(folder: Path) -> None:
    for name in ENVIRONMENTS.values():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "installed").touch()


@pytest.mark.parametrize("version", ["3.10", "2.7", "4.11", ""])
def test_an_old_python_is_reported_before_anything_is_created(folder: Path, version: str) -> None:
    python(folder / "bin/python3", version)
    result = make(folder, "serve")
    assert result.returncode == 2
    said = result.stderr.splitlines()[0]
    assert said.startswith("error: Python 3.11 or newer is required, ")
    assert version in said
    assert said.endswith("make serve PYTHON=python3.12")
    assert result.stdout == ""
    assert not list(folder.glob(".venv*"))
    assert not (folder / "log").exists()


@environments
def test_the_minimum_python_matches_pyproject(folder: Path, target: str, environment: str) -> None:
    (oldest,) = re.findall(
        r'requires-python = ">=([\d.]+)"', (PROJECT / "pyproject.toml").read_text()
    )
    python(folder / "bin/python3", oldest)
    make(folder, target)
    assert (folder / "log").read_text() == f"-m venv --clear {environment}\n"


@environments
@pytest.mark.parametrize(
    ("existing", "requested", "command"),
    [
        ("3.10", "3.12", "-m venv --clear"),  # left by an attempt with 3.10
        ("", "3.12", "-m venv --clear"),  # its interpreter is gone
        ("3.12", "3.12", "-m venv"),  # reuses what is installed
    ],
)
def test_an_environment_of_another_python_is_recreated(
    folder: Path, target: str, environment: str, existing: str, requested: str, command: str
) -> None:
    for name in ("python", "python3"):
        python(folder / environment / "bin" / name, existing)
    python(folder / "bin/python3.12", requested)
    assert make(folder, target, "PYTHON=python3.12").returncode == 2
    assert (folder / "log").read_text() == f"{command} {environment}\n"


@environments
def test_a_complete_environment_is_kept_unless_another_python_is_requested(
    folder: Path, target: str, environment: str
) -> None:
    python(folder / environment / "bin/python", "3.12")
    for version in ("3.11", "3.12", "3.13"):
        python(folder / f"bin/python{version}", version)
    python(folder / "bin/python3", "3.13")  # after an upgrade of the system
    mark_installed(folder)

    def recreates(*words: str) -> bool:
        return "-m venv" in make(folder, "--dry-run", target, *words).stdout

    assert not recreates()
    assert not recreates("PYTHON=python3.12")
    assert recreates("PYTHON=python3.11")


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ("requirements.txt", [".venv", ".venv-serve"]),  # .venv has the uv that installs both
        ("requirements-serve.txt", [".venv-serve"]),
    ],
)
def test_a_changed_lock_updates_its_environments(
    folder: Path, changed: str, made: list[str]
) -> None:
    mark_installed(folder)
    later = (folder / ".venv/installed").stat().st_mtime + 1
    os.utime(folder / changed, (later, later))
    commands = make(folder, "--dry-run", *ENVIRONMENTS).stdout
    assert re.findall(r"touch (\S+)/installed", commands) == made
    project = re.findall(r"(\S+) --editable \.", commands)  # only .venv has the project
    assert project == [name for name in made if name == ".venv"]


@pytest.mark.parametrize("target", ["serve", "mlflow", "prefect"])
def test_a_server_uses_the_given_port(folder: Path, target: str) -> None:
    mark_installed(folder)
    assert re.search("(--port |PORT=)9000", make(folder, "--dry-run", target, "PORT=9000").stdout)
    assert "9000" not in make(folder, "--dry-run", target).stdout


def test_help_lists_all_targets_in_groups_with_aligned_descriptions(folder: Path) -> None:
    lines = make(folder, "help").stdout.splitlines()
    described = [line for line in lines if line.startswith("  make ")]
    assert len(described) == len(re.findall(r"(?m)^[a-z-]+:.* ## ", MAKEFILE))
    assert len({len(re.findall(r"^  make \S+ +", line)[0]) for line in described}) == 1
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert groups == re.findall(r"(?m)^##@ (.+)", MAKEFILE)


def test_prefect_on_a_port_in_use_is_a_one_line_error(folder: Path) -> None:
    mark_installed(folder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = make(folder, "prefect", f"PORT={port}")
    assert result.returncode == 2
    said, _ = result.stderr.splitlines()  # the second is make's own
    assert said.startswith(f"error: port {port} of 127.0.0.1 is in use")
    assert result.stdout == ""


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_prefect_prints_its_address_and_starts_its_worker(folder: Path, port: int) -> None:
    program(folder / ".venv/bin/prefect", PREFECT)
    mark_installed(folder)
    result = make(folder, "prefect", f"PORT={port}")
    assert result.returncode == 0
    assert "separate terminal" not in result.stdout
    assert f"PREFECT_API_URL=http://127.0.0.1:{port}/api .venv/bin/prefect" in result.stdout
    assert result.stdout.endswith(f"the worker for http://127.0.0.1:{port}/api\n")


@pytest.mark.parametrize("fault", ["DEAD", "REFUSED"])
def test_prefect_ends_with_its_server_or_a_failed_deployment(
    folder: Path, port: int, fault: str
) -> None:
    program(folder / ".venv/bin/prefect", PREFECT)
    mark_installed(folder)
    result = make(folder, "prefect", f"PORT={port}", **{fault: "1"})
    assert result.returncode == 2
    assert "No such process" not in result.stderr
    assert ("start a worker" in result.stderr) == (fault == "REFUSED")  # Prefect's output


def test_clean_refuses_while_a_stage_runs(folder: Path) -> None:
    """Removing artifacts/ would remove its lock, and a second stage could start."""
    for name in REMOVED:
        (folder / name).mkdir(parents=True)
    (folder / "models").mkdir()
    with (folder / "artifacts/workspace.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("`python -m pipeline train` (process 1)")
        lock.flush()
        refused = make(folder, "clean")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the workspace is busy with `python -m pipeline train`")
    assert all((folder / name).exists() for name in REMOVED)
    for _ in range(2):  # the second has nothing to remove
        assert make(folder, "clean").returncode == 0
        assert not any((folder / name).exists() for name in REMOVED)
    assert (folder / "models").exists()
