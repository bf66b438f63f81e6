"""The recipes of the project, as params.yaml and params.fast.yaml say."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.config import load_params, parse_params
from pipeline.core.errors import UserError
from pipeline.orchestration.overrides import merged
from pipeline.training.recipe import Recipe

FAST = Path("params.fast.yaml")


def load_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe `release` or `fast`, with these parameters changed.

    UserError if params.yaml has the values of params.fast.yaml, so that there is no `release`.
    """
    release, fast = load_params().train, parse_params(merged(FAST)).train
    if release == fast:
        raise UserError(f"params.yaml has the values of {FAST}: `git checkout params.yaml`")
    return dataclasses.replace({"release": release, "fast": fast}[name], **changes)
