"""Calls to the container engine."""

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


def output_of(*arguments: str, **options: Any) -> str:
    """Run the engine, which must succeed; return its output."""
    result = engine(*arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def inspect(kind: str, name: str) -> Any:
    """The engine's description of an image or a container."""
    return json.loads(output_of(kind, "inspect", name))[0]


def with_docker(workspace: Checkout) -> Checkout:
    """Add docker/ and the Makefile to a checkout."""
    secrets = shutil.ignore_patterns("secrets")
    shutil.copytree(PROJECT / "docker", workspace.path / "docker", ignore=secrets)
    shutil.copy(PROJECT / "Makefile", workspace.path)
    workspace.environment["CONTAINER_ENGINE"] = ENGINE
    del workspace.environment["MLFLOW_TRACKING_URI"]
    return workspace


def stop(container: str) -> int:
    """Stop a container and return its exit status, 137 if it had to be killed."""
    engine("stop", "--time", "20", container)
    return int(inspect("container", container)["State"]["ExitCode"])


def logs(container: str) -> str:
    """The logs of a container so far."""
    result = engine("logs", container)
    return result.stdout + result.stderr


def owners(folder: Path) -> set[int]:
    """The user IDs that own a folder and its contents."""
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
