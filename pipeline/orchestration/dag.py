"""The DAG in dvc.yaml: its stages, their order, the command that runs one, and DVC's output.

Only this module and `lock` use DVC.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.config import Flow, parse_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.orchestration.overrides import overridden

DAG = "dvc.yaml"


@dataclass(frozen=True)
class Stage:
    """A stage, the stages that it depends on, and its human-readable outputs."""

    name: str
    needs: tuple[str, ...]
    texts: tuple[Path, ...]  # Markdown; all paths are relative to the workspace
    metrics: tuple[Path, ...]  # JSON that dvc.yaml lists under metrics
    images: tuple[Path, ...]  # PNG that dvc.yaml lists under plots


def read_dag(root: Path) -> dict[str, Stage]:
    """The stages of dvc.yaml in this folder and their dependencies, by name, in DVC's order.

    UserError if dvc.yaml is missing or invalid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import get_active_graph, plan_repro

    if not (root / DAG).is_file():
        raise UserError(f"{DAG} is missing in {root.resolve()}")
    try:
        with Repo(str(root)) as repo:
            graph = get_active_graph(repo.index.graph)
            own = [stage for stage in graph if path_from(root, stage.path) == DAG]
            stages = plan_repro(graph, own) if own else []
    except DvcException as error:
        raise UserError(
            f"{DAG}: {' '.join(str(error).split())}; `dvc stage list` may say more"
        ) from error

    content = YAML(typ="safe", pure=True).load(root / DAG)
    metrics, plots = _listed(content.get("metrics")), _listed(content.get("plots"))

    def describe(stage: Any) -> Stage:
        outputs = {path_from(root, out.fs_path): out for out in stage.outs}
        return Stage(
            name_of(stage, root),
            tuple(name_of(needed, root) for needed in graph.successors(stage)),
            texts=_of_type(".md", outputs),
            metrics=_of_type(".json", [p for p, o in outputs.items() if o.metric or p in metrics]),
            images=_of_type(".png", [p for p, o in outputs.items() if o.plot or p in plots]),
        )

    return {stage.name: stage for stage in map(describe, stages)}


def name_of(stage: Any, root: Path) -> str:
    """DVC's name for a stage, relative to `root`."""
    file, name = path_from(root, stage.path), getattr(stage, "name", None)
    if name is None:  # created by `dvc add`
        return file
    return str(name) if file == DAG else f"{file}:{name}"


def path_from(root: Path, path: str | Path) -> str:
    """A path relative to `root`."""
    return Path(os.path.relpath(path, root)).as_posix()


def plan(stages: Mapping[str, Stage], targets: Sequence[str] = ()) -> list[Stage]:
    """The stages that `dvc repro TARGETS` considers, in its order; without a target, all.

    UserError if there is no such stage.
    """
    ordered: dict[str, Stage] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for needed in stages[name].needs:
                add(needed)
            ordered[name] = stages[name]

    for target in targets or stages:
        if target not in stages:
            raise UserError(f"{DAG} has no stage {target!r}; its stages are {', '.join(stages)}")
        add(target)
    return list(ordered.values())


def read_plan(
    workspace: Workspace, targets: Sequence[str], set_params: Sequence[str]
) -> tuple[list[Stage], Flow, str]:
    """The stages to run, the flow's settings, and the text of params.yaml with these values.

    UserError if a target, a value or a setting is invalid.
    """
    content = overridden(set_params, workspace.params)
    settings = parse_params(content, workspace.params).flow
    stages = read_dag(workspace.root)
    if unknown := sorted({*settings.retries, *settings.timeouts} - stages.keys()):
        raise UserError(f"{workspace.params}: flow: {DAG} has no stage {', '.join(unknown)}")
    return plan(stages, targets), settings, content


def up_to_date(root: Path) -> set[str]:
    """The stages that `dvc repro` would skip, by name; none if DVC cannot say, as while it is busy.

    It takes as long as one start of DVC, for all stages.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.lock:
            return {name_of(stage, root) for stage in repo.index.stages if not stage.changed()}
    except DvcException:  # DVC reports the error when it runs the stage
        return set()


def repro_command(stage: str, *, force: bool) -> list[str]:
    """The command that runs this stage alone, if a dependency has changed or if forced.

    It must run in the workspace.
    """
    dvc = [sys.executable, "-m", "dvc", "--wait-for-lock"]
    return [*dvc, "repro", "--single-item", *(["--force"] if force else []), stage]


def ran(stage: str, output: Sequence[str]) -> bool:
    """Whether DVC's output says that it ran the stage."""
    return f"Running stage '{stage}':" in output


def unchanged(stage: str, output: Sequence[str]) -> bool:
    """Whether DVC's output says that the stage was up to date."""
    return f"Stage '{stage}' didn't change, skipping" in output


def advice(line: str) -> bool:
    """Whether the line is DVC's advice on what to do next, which is useful only in a terminal."""
    return _ADVICE.fullmatch(line) is not None


def exit_status(output: Sequence[str]) -> int | None:
    """The exit status of the stage's command, if DVC reports that it failed."""
    found = [re.search(r"^ERROR: .*, exited with (\d+)$", line) for line in output]
    return next((int(status[1]) for status in reversed(found) if status), None)


def _listed(entries: Any) -> set[str]:
    """The paths in a list of dvc.yaml, each a string or a mapping from the path to its options.

    DVC itself resolves them from the current folder.
    """
    groups = ([entry] if isinstance(entry, str) else entry for entry in entries or ())
    return {path for group in groups for path in group}


def _of_type(suffix: str, paths: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(path) for path in paths if path.endswith(suffix))


_ADVICE = re.compile(
    r"|To track the changes with git, run:|\tgit add .*"
    r"|To enable auto staging, run:|\tdvc config core\.autostage true"
    r"|Use `dvc push` to send your updates to remote storage\."
    r"|NoneType: None"
)
