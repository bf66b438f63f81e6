"""The recipes of params.yaml and params.fast.yaml, and the shortest that is worth measuring."""

import dataclasses
from typing import Any

from pipeline.config import load_params, parse_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.orchestration.overrides import merged
from pipeline.training.recipe import Recipe

FAST = "params.fast.yaml"
SHORTEST_EPOCHS = 3  # of `fast`: less than 20 seconds on two cores


def load_recipe(workspace: Workspace, name: str, **changes: Any) -> Recipe:
    """The recipe `release`, `fast` or `shortest`, with these parameters changed.

    UserError if params.yaml has the values of params.fast.yaml: then there is no `release`.
    """
    path = workspace.params
    release = load_params(path).train
    fast = parse_params(merged(workspace.root / FAST, path), path).train
    if release == fast:
        raise UserError(f"{path} has the values of {FAST}: `git checkout {path}`")
    shortest = dataclasses.replace(fast, epochs=min(SHORTEST_EPOCHS, fast.epochs))
    recipes = {"release": release, "fast": fast, "shortest": shortest}
    return dataclasses.replace(recipes[name], **changes)
