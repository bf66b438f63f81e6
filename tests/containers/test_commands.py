"""What the commands in docker/ ask of an engine. There is none here, only a name that answers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workspace import PROJECT

GPUS = {"docker": "--gpus all", "podman": "--device nvidia.com/gpu=all"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with docker/, whose path has a space."""
    folder = tmp_path / "a checkout"
    shutil.copytree(PROJECT / "docker", folder / "docker", ignore=shutil.ignore_patterns("secrets"))
    (folder / ".dvc").mkdir()
    return folder


def answering(folder: Path, *names: str) -> Path:
    """A folder with programs of these names, which print what they are given."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
        (folder / name).chmod(0o755)
    return folder


def run(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONTAINER_")}
    return subprocess.run(
        words, cwd=checkout, env=environment | variables, capture_output=True, text=True
    )


@pytest.mark.parametrize("engine", GPUS)
def test_gpus_are_given_to_the_container(checkout: Path, tmp_path: Path, engine: str) -> None:
    programs = answering(tmp_path / "bin", engine, "nvidia-smi")
    settings = {"CONTAINER_ENGINE": engine, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def said(**variables: str) -> str:
        result = run(checkout, "docker/run", "true", **settings, **variables)
        assert result.returncode == 0, result.stderr
        return " ".join(result.stdout.splitlines())

    assert GPUS[engine] in said()
    assert GPUS[engine] not in said(CONTAINER_GPU="none")
    (programs / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")  # a driver without a GPU
    assert GPUS[engine] not in said()


def test_the_checkout_is_mounted_for_its_owner_with_no_right_at_all(
    checkout: Path, tmp_path: Path
) -> None:
    engine = answering(tmp_path / "bin", "docker") / "docker"
    words = run(checkout, "docker/run", "true", CONTAINER_ENGINE=str(engine)).stdout.splitlines()
    assert f"{checkout}:{checkout}" in words
    owner = checkout.stat()
    assert words[words.index("--user") + 1] == f"{owner.st_uid}:{owner.st_gid}"
    assert {"--read-only", "ALL", "no-new-privileges"} <= set(words)
    assert words[-2:] == ["mnist-pipeline:train", "true"]


def test_secrets_of_the_environment_stay_off_the_command_line(
    checkout: Path, tmp_path: Path
) -> None:
    engine = answering(tmp_path / "bin", "docker") / "docker"
    secret = {"MLFLOW_TRACKING_PASSWORD": "hidden", "UNRELATED": "hidden"}
    said = run(checkout, "docker/run", "true", CONTAINER_ENGINE=str(engine), **secret).stdout
    assert "--env\nMLFLOW_TRACKING_PASSWORD\n" in said
    assert "hidden" not in said
    assert "UNRELATED" not in said


@pytest.mark.parametrize("command", ["docker/build", "docker/run true", "docker/stack up"])
def test_without_an_engine_it_is_one_line_and_exit_status_2(checkout: Path, command: str) -> None:
    result = run(checkout, *command.split(), CONTAINER_ENGINE="no-such-engine")
    assert result.returncode == 2
    assert result.stderr == "error: no no-such-engine here: install Docker or Podman\n"


def test_the_password_is_drawn_once_and_others_cannot_reach_it(
    checkout: Path, tmp_path: Path
) -> None:
    engine = answering(tmp_path / "bin", "docker") / "docker"

    def password() -> str:
        command = "umask 077; docker/stack ps"
        run(checkout, "bash", "-c", command, CONTAINER_ENGINE=str(engine)).check_returncode()
        return (checkout / "docker/secrets/postgres_password").read_text()

    first = password()
    assert len(first) == 48
    assert password() == first
    assert (checkout / "docker/secrets").stat().st_mode & 0o777 == 0o700
    for file in ("docker/secrets/postgres_password", "docker/postgres.sql"):
        assert (checkout / file).stat().st_mode & 0o444 == 0o444


def test_to_stop_a_stack_that_is_not_up_is_quiet(checkout: Path, tmp_path: Path) -> None:
    programs = answering(tmp_path / "bin", "podman-compose")
    podman = programs / "podman"
    settings = {"CONTAINER_ENGINE": "podman", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def said(*words: str) -> str:
        podman.chmod(0o755)
        result = run(checkout, "docker/stack", *words, **settings)
        assert result.returncode == 0
        return result.stdout + result.stderr

    podman.write_text("#!/bin/sh\n")
    assert said("down") == ""
    assert said("down", "--volumes").endswith("down\n--volumes\n")  # what was kept may be there
    podman.write_text("#!/bin/sh\necho 0123\n")
    assert said("down").endswith("down\n")
