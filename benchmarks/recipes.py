"""The recipes of the project, as params.yaml and params.fast.yaml say."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.mnist.recipe import Recipe
from pipeline.overrides import merged
from pipeline.params import load_params, parse_params

OVERRIDES = {"release": None, "fast": Path("params.fast.yaml")}


def load_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe `release` or `fast`, with these parameters changed."""
    file = OVERRIDES[name]
    params = parse_params(merged(file)) if file else load_params()
    return dataclasses.replace(params.train, **changes)
