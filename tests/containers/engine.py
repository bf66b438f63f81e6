"""The container engine, as the tests call it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import PROJECT, Checkout

ENGINE = os.environ.get("CONTAINER_TESTS", "")
if not ENGINE:
    pytest.skip(
        "`make image` builds the images, `make test-containers` tests them",
        allow_module_level=True,
    )
HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]


def engine(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run docker or podman with these arguments."""
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 580} | options
    result: subprocess.CompletedProcess[str] = subprocess.run([ENGINE, *arguments], **settings)
    return result


def says(*arguments: str, **options: Any) -> str:
    """What it answers; it must end well."""
    result = engine(*arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def inspected(kind: str, name: str) -> Any:
    """All that the engine knows of an image or a container."""
    return json.loads(says(kind, "inspect", name))[0]


def with_docker(workspace: Checkout) -> Checkout:
    """A scratch folder that has docker/ and the Makefile too."""
    secrets = shutil.ignore_patterns("secrets")
    shutil.copytree(PROJECT / "docker", workspace.path / "docker", ignore=secrets)
    shutil.copy(PROJECT / "Makefile", workspace.path)
    workspace.environment["CONTAINER_ENGINE"] = ENGINE
    del workspace.environment["MLFLOW_TRACKING_URI"]
    return workspace


def end_of(container: str) -> int:
    """The exit status of a container that is asked to stop: 137 if it had to be killed."""
    engine("stop", "--time", "5", container)
    return int(inspected("container", container)["State"]["ExitCode"])


def logs(container: str) -> str:
    """What a container has said so far."""
    result = engine("logs", container)
    return result.stdout + result.stderr


def owners(folder: Path) -> set[int]:
    """The users to whom a folder and all that is in it belong."""
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
