"""Applies the Prefect settings in the workspace's pyproject.toml.

Prefect itself reads only the pyproject.toml in the current folder, when it is imported.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FLOW = "mnist-release"  # for every task: prefect.yaml and existing runs have this name
MONITOR = "monitor"  # the flow that watches a model in use
RETRAIN = "retrain"  # the flow that trains on labelled images from use
EVENTS = FLOW.partition("-")[0]  # what the names of events begin with
PATHS = {"home", "profiles_path"}  # settings that are relative to the workspace


def use(root: Path) -> None:
    """Set Prefect's environment variables from the workspace's settings, unless they are set."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    settings = project.get("tool", {}).get("prefect", {})
    located = {name: str((root / settings[name]).resolve()) for name in PATHS & settings.keys()}
    for variable, value in _variables("PREFECT", settings | located):
        os.environ.setdefault(variable, value)


def _variables(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, nested in value.items():
            yield from _variables(f"{name}_{key.upper()}", nested)
    else:
        yield name, str(value)
