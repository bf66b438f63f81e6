"""The two locks: requirements.txt, of packages, and dvc.lock, of results.

python -m pipeline.orchestration.lock: write versions.json, by which DVC sees what is locked
python -m pipeline.orchestration.lock --check: say where a lock and this checkout disagree

A stage in dvc.yaml names the packages that its result depends on, so that another version of one
of them in requirements.txt runs the stage again.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import existing, read_json, write_json

REQUIREMENTS, VERSIONS = Path("requirements.txt"), Path("versions.json")
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
ABSENT = {"deleted", "not in cache"}  # in DVC's words; so is all in DVC's cache in a fresh clone


def locked_versions(requirements: str) -> dict[str, str]:
    """The version of each package; all of them where that depends on Python or the system."""
    found: dict[str, list[str]] = {}
    for name, version in PIN.findall(requirements):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append(version)
    return {name: ", ".join(versions) for name, versions in sorted(found.items())}


def write_versions() -> None:
    """Bring versions.json up to date with requirements.txt."""
    write_json(VERSIONS, locked_versions(_requirements()))


def _requirements() -> str:
    return existing(REQUIREMENTS).read_text(encoding="utf-8")


def _written_versions() -> Any:
    """What versions.json holds; None if that is nothing, or broken as by a merge."""
    try:
        return read_json(VERSIONS)
    except UserError:
        return None


def faults() -> list[str]:
    """What disagrees: a sentence each, which says what to do. UserError if dvc.yaml is wrong."""
    found = []
    locked = locked_versions(_requirements())
    written = _written_versions()
    if written != locked:
        found.append(
            f"{VERSIONS} does not have the versions of {REQUIREMENTS}: run `make repro` and "
            "commit what changes"
        )
    if not isinstance(written, dict):  # so DVC cannot read it either
        return found
    changed = stale_stages()
    if changed:
        stages = ", ".join(f"{stage} ({', '.join(names)})" for stage, names in changed.items())
        found.append(
            "dvc.lock is of other code, params or results: run `dvc repro` (or `dvc commit`, if "
            f"the results stay the same) and commit what changes; stages: {stages}"
        )
    return found


def stale_stages() -> dict[str, list[str]]:
    """The stages whose entry in dvc.lock is not of these files and params, and what differs.

    Data and weights are left out where they are missing: git does not have them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            cached = {str(out) for out in repo.index.outs if out.use_cache}
            status = repo.status()
    except DvcException as error:
        raise UserError(f"dvc.yaml: {' '.join(str(error).split())}") from error
    stale = {}
    for stage, changes in status.items():
        names = [name for change in changes for name in _differing(change, cached)]
        if names:
            stale[stage] = names
    return stale


def _differing(change: str | dict[str, dict[str, object]], cached: set[str]) -> list[str]:
    """The names in one of DVC's notes on a stage: a text, or a kind of change and what it is of."""
    if isinstance(change, str):
        return [change]
    names = []
    for files in change.values():
        for name, how in files.items():
            if isinstance(how, dict):  # keys of a params file
                names += [f"{name}: {', '.join(how)}"]
            elif not (how in ABSENT and name in cached):
                names += [name]
    return names


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit status."""
    if list(arguments) not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return UserError.status
    try:
        if not arguments:
            write_versions()
            return 0
        found = faults()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
