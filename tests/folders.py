"""The content of folders, to compare before and after; and a release that replaces another."""

from pathlib import Path

from pipeline.core import files

NEW = {name: f"new {name}".encode() for name in ("sums", "model", "card", "a")}
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


def old_release(folder: Path) -> Path:
    """Create `folder` with a file that the new release also has and one that it lacks."""
    folder.mkdir(parents=True)
    for name in ("model", "note"):
        (folder / name).write_text("old")
    return folder


def replace_release(target: Path) -> None:
    """Replace the files of a release by those of NEW."""
    with files.replacing_directory(target, last=["model", "sums"]) as new:
        for name, data in NEW.items():
            (new / name).write_bytes(data)
