"""A mirror of four made-up files, and the stage `fetch` with short timeouts."""

import gzip
import hashlib
import random
from pathlib import Path
from typing import Any

from pipeline.config import Fetch
from pipeline.core.workspace import Workspace
from pipeline.stages import fetch

NAMES = [f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1")]
NAMES += [f"{part}-ubyte.gz" for part in ("t10k-images-idx3", "t10k-labels-idx1")]
CONTENT = {name: gzip.compress(random.Random(name).randbytes(5000), mtime=0) for name in NAMES}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
FIRST = NAMES[0]


def fill(mirror: Path) -> None:
    """Create the mirror with its files."""
    mirror.mkdir()
    for name, content in CONTENT.items():
        (mirror / name).write_bytes(content)


def run(workspace: Workspace, *mirrors: str, **changes: Any) -> None:
    """Fetch the files from these mirrors."""
    settings: dict[str, Any] = {"timeout": 10.0, "time_limit": 60.0, "retries": 1, "backoff": 0.0}
    settings["files"] = SHA256
    fetch.run(workspace, Fetch(mirrors=list(mirrors), **(settings | changes)))


def fetched(workspace: Workspace) -> dict[str, bytes]:
    """All files in data/raw, including hidden and temporary ones."""
    return {path.name: path.read_bytes() for path in workspace.raw.glob("*")}
