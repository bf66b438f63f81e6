"""What folders hold, to compare before and after; and a release that replaces another."""

from pathlib import Path

from pipeline.core import files

NEW = {name: f"new {name}".encode() for name in ("sums", "model", "card", "a")}
BY_THE_WAY = {"__pycache__", "workspace.lock"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden and temporary ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def everything(folder: Path) -> dict[str, bytes]:
    """The same with the folders themselves; bytecode and locks left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"(folder)"
        for path in folder.rglob("*")
        if not BY_THE_WAY & set(path.parts)
    }


def old_release(folder: Path) -> Path:
    """Make `folder`, with a file that the new release has too, and one that it has not."""
    folder.mkdir(parents=True)
    for name in ("model", "note"):
        (folder / name).write_text("old")
    return folder


def replace_release(target: Path) -> None:
    """Put the files of NEW in place of those there."""
    with files.replacing_directory(target, last=["model", "sums"]) as new:
        for name, data in NEW.items():
            (new / name).write_bytes(data)
