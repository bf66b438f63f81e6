"""The input for a GPU machine: MNIST's files and the resolved recipes, in one folder.

Only `pack` requires the project's environment and imports it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import existing, sha256, write_bytes, write_json
from pipeline.core.workspace import Workspace

PROJECT = Path(__file__).parents[2]
CONTENT = "recipes.json"


def pack(workspace: Workspace, target: Path) -> None:
    """Write the folder. UserError if a file of params.yaml is missing or differs in data/raw."""
    from benchmarks.training.recipes import load_recipe
    from pipeline.config import load_params
    from pipeline.core import environment
    from pipeline.core.task import load_task
    from pipeline.stages.train import code_digests

    params = load_params(workspace.params)
    for name, digest in params.fetch.files.items():
        path = workspace.raw / name
        if not path.is_file():
            raise UserError(f"{path} is missing: `python -m pipeline fetch` downloads it")
        if sha256(path) != digest:
            raise UserError(
                f"{path} does not match params.yaml: `python -m pipeline fetch` downloads it again"
            )
        write_bytes(target / name, existing(path).read_bytes())
    task = load_task(params.task, workspace.root)
    content = {
        "task": params.task,
        "recipes": {name: vars(load_recipe(workspace, name)) for name in ("fast", "release")},
        "files": params.fetch.files,
        "gate": params.gate.min_accuracy,
        "git_revision": environment.git_revision(workspace.root, task.package),
        "code_sha256": code_digests(task),
    }
    write_json(target / CONTENT, content)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {size / 1e6:.0f} MB")


def read_packed(packed: Path) -> dict[str, Any]:
    """What `pack` wrote. UserError if it cannot be read."""
    try:
        content: dict[str, Any] = json.loads((packed / CONTENT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{packed} has no input to train on ({error}): run `python -m benchmarks.gpu "
            "--pack` in the project's environment"
        ) from error
    return content


def changed_code(packed: dict[str, str]) -> list[str]:
    """The modules that have changed since the folder was packed."""
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
        for name in packed
        for path in [PROJECT / name]
    }
    return [name for name, digest in packed.items() if digests[name] != digest]
