"""The origin of a result: hardware, library versions, git revision and flow run."""

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pipeline.core import variables

LIBRARIES = ["torch", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "safetensors"]
NO_REPOSITORY = "fatal: not a git repository (or any"  # any other message means a damaged one
CODE = ["pipeline", "dvc.yaml", "params.yaml", "requirements.txt"]


def hardware() -> dict[str, str | int]:
    """Processor, logical cores, memory in GiB, operating system and architecture."""
    return {
        "processor": _processor_name(),
        "cores": psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that affect the results."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def git_revision(root: Path, package: str) -> str:
    """The current commit, with `-dirty` if code or params differ from it; or `unknown`.

    It is `unknown` outside a repository and, with a warning, if git fails. `package` is the task's
    package, which can be outside `pipeline`.
    """
    code = [*CODE, package.replace(".", "/")]
    try:
        commit = _git(root, "rev-parse", "--verify", "HEAD")
        known = _git(root, "ls-files", "--", *code)
        changed = _git(root, "status", "--porcelain", "--", *code)
    except FileNotFoundError:
        _warn_once("git is not installed")
        return "unknown"
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines() or [f"git: exit status {error.returncode}"]
        here = root.resolve()
        damaged = any((folder / ".git").exists() for folder in (here, *here.parents))
        if damaged or not said[0].startswith(NO_REPOSITORY):
            _warn_once(said[0])
        return "unknown"
    if not known:  # such as an archive unpacked inside another repository
        _warn_once("the git repository around these files does not track them")
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def flow_run() -> dict[str, str] | None:
    """The id and URL of the flow run that this process belongs to, if any."""
    run, url = variables.FLOW_RUN_ID.get(), variables.FLOW_RUN_URL.get()
    return None if run is None or url is None else {"id": run, "url": url}


def experiment() -> str | None:
    """The name of the DVC experiment that this process belongs to, if any."""
    return variables.EXPERIMENT.get()


def lasting_folder(root: Path) -> Path:
    """The absolute path of a workspace; in an experiment, that of the original workspace.

    `dvc exp run --temp` and `--queue` run the stages in a copy. DVC then deletes the copy and keeps
    only the outputs of the stages.
    """
    here = root.resolve()
    main = variables.MAIN_ROOT.get()
    if experiment() is None or main is None:
        return here
    copy = next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)
    return Path(main) / here.relative_to(copy)


def without_password(address: str) -> str:
    """A server's URL without user and password."""
    shown = re.sub("(?<=://)[^/?#]*@", "", address)
    return shown if ":///" in shown else shown.rstrip("/")  # sqlite:///mlflow.db has no server


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"LC_ALL": "C"},  # for NO_REPOSITORY: messages in English
    ).stdout.strip()


@cache
def _warn_once(why: str) -> None:
    print(f"warning: the git revision is unknown: {why}", file=sys.stderr)


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
