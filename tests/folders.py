"""The content of folders, to compare before and after."""

from pathlib import Path

IGNORED = {"__pycache__", "workspace.lock"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, including hidden and temporary files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def everything(folder: Path) -> dict[str, bytes]:
    """The same including folders, without bytecode and locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"(folder)"
        for path in folder.rglob("*")
        if not IGNORED & set(path.parts)
    }
