"""A copy of a checkout, uncommitted changes included, in a scratch folder to run the DAG in."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.files import write_text
from pipeline.core.workspace import Workspace
from pipeline.orchestration.overrides import overridden

NEEDED = [
    *("pipeline", "benchmarks", "dvc.yaml", "params.yaml", "pyproject.toml", "requirements.txt"),
    *("versions.json", ".dvc", ".dvcignore", ".gitignore"),
]
LEFT_OUT = (
    "MLFLOW_",
    "PREFECT_",
    "PIPELINE_",
    "DVC_",
    "PYTHON",
    "GIT_",
)  # of the environment variables


class Checkout:
    """A copy of code, DAG and params, without data, results and bytecode; runs commands in it."""

    def __init__(self, workspace: Workspace, folder: Path, overrides: Sequence[str] = ()) -> None:
        """Copy the files that git does not ignore to a new folder, with overrides of params.

        UserError outside a git checkout and for an invalid override.
        """
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",  # lines arrive as they are written
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
        root = workspace.root
        listed = subprocess.run([*command, *NEEDED], cwd=root, capture_output=True, text=True)
        if listed.returncode != 0:
            raise UserError(f"a copy requires a git checkout: {listed.stderr.strip()}")
        for name in listed.stdout.split("\0")[:-1]:
            if (root / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, folder / name)
        mirrors = [
            mirror if "://" in mirror else str((root / mirror).absolute())
            for mirror in load_params(workspace.params).fetch.mirrors
        ]
        changed = [f"fetch.mirrors={json.dumps(mirrors)}", *overrides]
        write_text(folder / "params.yaml", overridden(changed, workspace.params))
        author = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        for words in (["init"], ["add", "."], [*author, "commit", "--message", "a copy"]):
            self.run(["git", *words])

    def copy(self, folder: Path) -> "Checkout":
        """A copy of this checkout in another folder."""
        twin = copy(self)
        twin.folder = shutil.copytree(self.folder, folder, symlinks=True)
        return twin

    def run(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> list[tuple[float, str]]:
        """Run a command: its output lines and "", each with the seconds since the start.

        UserError, with the whole output, if it fails.
        """
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout:
            lines = [(time.perf_counter() - started, line.rstrip()) for line in process.stdout]
        if process.wait() != 0:
            output = "\n".join(line for _, line in lines if not line.startswith("import time:"))
            raise UserError(f"`{' '.join(command)}` failed in a copy of the checkout:\n{output}")
        return [*lines, (time.perf_counter() - started, "")]

    def python(
        self, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> list[tuple[float, str]]:
        """Run this Python interpreter, as `run` does."""
        return self.run([sys.executable, *arguments], variables)
