"""The DAG of dvc.yaml, as DVC has it: its stages, their order, and the command that runs one.

Beside it, only `lock` knows DVC. What DVC says of a stage that it runs, it says on standard output.
"""

import os
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Flow, parse_params
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.orchestration.overrides import overridden


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, the stages it needs, and those of its outputs that are for people."""

    name: str
    needs: tuple[str, ...]
    texts: tuple[Path, ...]  # Markdown
    metrics: tuple[Path, ...]  # JSON that dvc.yaml lists under metrics
    images: tuple[Path, ...]  # PNG that dvc.yaml lists under plots


def plan(root: Path, targets: Sequence[str] = ()) -> list[Stage]:
    """The stages that `dvc repro TARGETS` looks at (no target: all), in its order.

    UserError if dvc.yaml is missing or wrong, or has no such stage.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    try:
        with Repo(str(root)) as repo:
            graph = get_active_graph(repo.index.graph)
            stages = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
            listed = {
                kind: {Path(repo.root_dir, *key) for key in keys.get("repo", ())}
                for kind, keys in (
                    ("metrics", repo.index.metric_keys),
                    ("plots", repo.index.plot_keys),
                )
            }
    except DvcException as error:
        raise UserError(
            f"dvc.yaml: {' '.join(str(error).split())}; `dvc stage list` may say more"
        ) from error

    def describe(stage: Any) -> Stage:
        outputs = [Path(out.fs_path) for out in stage.outs]

        def shown(suffix: str, among: Collection[Path]) -> tuple[Path, ...]:
            chosen = [path for path in outputs if path.suffix == suffix and path in among]
            return tuple(Path(os.path.relpath(path, root)) for path in chosen)

        return Stage(
            stage.addressing,
            tuple(needed.addressing for needed in graph.successors(stage)),
            texts=shown(".md", outputs),
            metrics=shown(".json", listed["metrics"]),
            images=shown(".png", listed["plots"]),
        )

    return [describe(stage) for stage in stages]


def read_plan(
    workspace: Workspace, targets: Sequence[str], set_params: Sequence[str]
) -> tuple[list[Stage], Flow, str]:
    """The stages to run, how, and params.yaml with these values; UserError for an error in them."""
    content = overridden(set_params, workspace.params)
    settings = parse_params(content, workspace.params).flow
    if "" in targets:
        raise UserError("'': an empty name; `dvc stage list` has those of the stages")
    every_stage = plan(workspace.root)
    stages = plan(workspace.root, targets) if targets else every_stage
    unknown = {*settings.retries, *settings.timeouts} - {stage.name for stage in every_stage}
    if unknown:
        raise UserError(
            f"{workspace.params}: flow: dvc.yaml has no stage {', '.join(sorted(unknown))}"
        )
    return stages, settings, content


def repro_command(stage: str, *, force: bool) -> list[str]:
    """What runs this stage alone, if anything that it depends on has changed, or if forced."""
    dvc = [sys.executable, "-m", "dvc", "--wait-for-lock"]
    return [*dvc, "repro", "--single-item", *(["--force"] if force else []), stage]


def ran(stage: str, output: Sequence[str]) -> bool:
    """Whether DVC, which said this, has run the stage, rather than found its outputs somewhere."""
    return f"Running stage '{stage}':" in output


def unchanged(stage: str, output: Sequence[str]) -> bool:
    """Whether DVC, which said this, has found the stage's outputs in their place."""
    return f"Stage '{stage}' didn't change, skipping" in output


def advice(line: str) -> bool:
    """Whether DVC says here what its user may do next; it is for those who run it by hand."""
    return _ADVICE.fullmatch(line) is not None


def exit_status(output: Sequence[str]) -> int | None:
    """The exit status of the stage's command, if DVC says here that it failed."""
    found = [re.search(r"^ERROR: .*, exited with (\d+)$", line) for line in output]
    return next((int(status[1]) for status in reversed(found) if status), None)


_ADVICE = re.compile(
    r"|To track the changes with git, run:|\tgit add .*"
    r"|To enable auto staging, run:|\tdvc config core\.autostage true"
    r"|Use `dvc push` to send your updates to remote storage\."
    r"|NoneType: None"
)
