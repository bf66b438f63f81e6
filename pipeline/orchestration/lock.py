"""The two locks: requirements.txt for packages, and dvc.lock for results.

A stage in dvc.yaml lists the packages that its result depends on. DVC reads their versions from
versions.json, so that another version in requirements.txt runs the stage again.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, exit_on_failure
from pipeline.core.files import existing, read_json, write_json
from pipeline.core.workspace import Workspace
from pipeline.orchestration import dag

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
ABSENT = {"deleted", "not in cache"}  # DVC's status of missing files, as in a fresh clone


def locked_versions(requirements: str) -> dict[str, str]:
    """The version of each package; several where it depends on Python or the system."""
    found: dict[str, list[str]] = {}
    for name, version in PIN.findall(requirements):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append(version)
    return {name: ", ".join(versions) for name, versions in sorted(found.items())}


def write_versions(workspace: Workspace) -> None:
    """Bring versions.json up to date with requirements.txt."""
    write_json(workspace.versions, _locked(workspace))


def find_disagreements(workspace: Workspace) -> list[str]:
    """One message per disagreement, with what to do about it. UserError if dvc.yaml is invalid."""
    found = []
    written = _written(workspace)
    if written != _locked(workspace):
        found.append(
            f"{workspace.name(workspace.versions)} does not match "
            f"{workspace.name(workspace.requirements)}: run `make repro` and commit the changes"
        )
    if not isinstance(written, dict):  # so DVC cannot read it either
        return found
    changed = stale_stages(workspace.root)
    if changed:
        stages = ", ".join(f"{stage} ({', '.join(names)})" for stage, names in changed.items())
        found.append(
            "dvc.lock does not match the code, params or results: run `dvc repro` (or `dvc "
            f"commit`, if the results stay the same) and commit the changes; stages: {stages}"
        )
    return found


def stale_stages(root: Path) -> dict[str, list[str]]:
    """The stages whose entry in dvc.lock does not match the files and params, and what differs.

    Ignores missing data and weights, which are not in git.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stages = {stage.addressing: dag.name_of(stage, root) for stage in repo.index.stages}
            paths = {
                str(item): dag.path_from(root, item.fs_path)
                for item in (*repo.index.deps, *repo.index.outs)
            }
            cached = {paths[str(out)] for out in repo.index.outs if out.use_cache}
            status = repo.status()
    except DvcException as error:
        raise UserError(f"{dag.DAG}: {' '.join(str(error).split())}") from error
    stale = {}
    for stage, changes in status.items():
        names = [name for change in changes for name in _differing(change, paths, cached)]
        if names:
            stale[stages[stage]] = names
    return stale


@exit_on_failure()
def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns 1 if a lock disagrees, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.orchestration.lock",
        description="Write versions.json, which tells DVC what requirements.txt locks.",
    )
    parser.add_argument(
        "--workspace",
        type=Path,
        metavar="FOLDER",
        help="the folder that holds params.yaml; by default the current one or one above it",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; report where a lock and this checkout disagree",
    )
    options = parser.parse_args(arguments)
    workspace = Workspace.at(options.workspace) if options.workspace else Workspace.find()
    if not options.check:
        write_versions(workspace)
        return 0
    found = find_disagreements(workspace)
    for disagreement in found:
        print(f"error: {disagreement}", file=sys.stderr)
    return 1 if found else 0


def _locked(workspace: Workspace) -> dict[str, str]:
    return locked_versions(existing(workspace.requirements).read_text(encoding="utf-8"))


def _written(workspace: Workspace) -> Any:
    """The content of versions.json; None if it is missing or invalid, as after a merge conflict."""
    try:
        return read_json(workspace.versions)
    except UserError:
        return None


def _differing(
    change: str | dict[str, dict[str, object]], paths: dict[str, str], cached: set[str]
) -> list[str]:
    """What differs according to one entry of DVC's status: a string, or paths by kind of change."""
    if isinstance(change, str):
        return [change]
    names = []
    for files in change.values():
        for file, how in files.items():
            name = paths[file]
            if isinstance(how, dict):  # keys of a params file
                names += [f"{name}: {', '.join(how)}"]
            elif not (how in ABSENT and name in cached):
                names += [name]
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
