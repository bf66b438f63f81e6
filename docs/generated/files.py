"""The files of a workspace, from its attributes and from dvc.yaml."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from docs.generated.markdown import attribute_comments, code, sentence, table
from pipeline.core import workspace

ROOT = Path(__file__).parents[2]


def page() -> str:
    """A row for each path of Workspace, then the outputs of each stage."""
    stages = _dag()
    here = workspace.Workspace(Path())
    rows = []
    for (owner, name), meaning in attribute_comments(workspace.__name__).items():
        if owner == workspace.Workspace.__name__:
            path = here.name(getattr(here, name))
            written, read = (_stages(key, path) for key in ("outs", "deps"))
            rows.append([code(path), sentence(meaning), written, read])
    parts = [
        "### Paths\n",
        table(["Path", "Content", "Written by", "Read by"], rows),
        "### Outputs of the stages\n",
    ]
    for name, stage in stages.items():
        outputs = [[code(path), _kept(details)] for path, details in _entries(stage["outs"])]
        parts += [f"#### {name}\n", f"{stage['desc']}.\n", table(["Output", "Kept"], outputs)]
    return "\n".join(parts)


def written_by(path: str) -> str:
    """The stages that write the path."""
    return _stages("outs", path)


@cache
def _dag() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    stages: dict[str, Any] = content["stages"]
    return stages


def _stages(key: str, path: str) -> str:
    """The stages that list the path, or one inside or around it, under `key`."""
    names = [
        name
        for name, stage in _dag().items()
        if any(_overlap(path, entry) for entry, _ in _entries(stage[key]))
    ]
    return ", ".join(map(code, names))


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def _entries(outputs: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        next(iter(entry.items())) if isinstance(entry, dict) else (entry, {}) for entry in outputs
    ]


def _kept(details: dict[str, Any]) -> str:
    return "in git" if details.get("cache") is False else "in DVC's cache"
