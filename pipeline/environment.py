"""What a result was made on, from and by: hardware, library versions, git revision, flow run."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import psutil

LIBRARIES = ["torch", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "safetensors"]
FLOW_RUN_ID, FLOW_RUN_URL = "PIPELINE_FLOW_RUN_ID", "PIPELINE_FLOW_RUN_URL"  # set by a flow run
CODE = ["pipeline", "dvc.yaml", "params.yaml", "requirements.txt"]


def hardware() -> dict[str, str | int]:
    """Processor, logical cores, memory in GiB and the kind of system."""
    return {
        "processor": _processor_name(),
        "cores": psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the numbers depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """The commit checked out, with `-dirty` where code or params differ from it; or `unknown`."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def flow_run() -> dict[str, str] | None:
    """The id and the address of the flow run that this process belongs to, if it does to one."""
    if not {FLOW_RUN_ID, FLOW_RUN_URL} <= os.environ.keys():
        return None
    return {"id": os.environ[FLOW_RUN_ID], "url": os.environ[FLOW_RUN_URL]}


def without_password(address: str) -> str:
    """A server's address as anyone may see it: without user and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
