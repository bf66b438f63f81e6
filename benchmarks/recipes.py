"""The recipes of the project, as params.yaml and params.fast.yaml say."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.mnist.recipe import Recipe
from pipeline.overrides import merged
from pipeline.params import load_params, parse_params

FAST = Path("params.fast.yaml")


def load_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe `release` or `fast`, with these parameters changed.

    UserError if params.yaml has the values of params.fast.yaml, so that there is no `release`.
    """
    release, fast = load_params().train, parse_params(merged(FAST)).train
    if release == fast:
        raise UserError(f"params.yaml has the values of {FAST}: `git checkout params.yaml`")
    return dataclasses.replace({"release": release, "fast": fast}[name], **changes)
