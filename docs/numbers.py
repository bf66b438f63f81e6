"""python -m docs.numbers: write the numbers of reports/ into README.md and the pages of docs/.

A number or a table stands between two markers, `insert: NAME` and `end`, both HTML comments: a
table on lines of its own, a number within a line. docs/inserts.py says what each name is. With
`--check` nothing is written: what differs is listed, and the exit status is 1.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.inserts import value_of
from pipeline.core.errors import UserError
from pipeline.core.reports import Subject
from pipeline.core.workspace import Workspace

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"<!-- (?:insert: (?P<name>\S+)|end) -->")


@dataclass(frozen=True)
class Insert:
    """A place for a value in a page: between two markers."""

    name: str
    line: int
    start: int  # of the text between the markers, in the page
    end: int
    block: bool  # whether the value has lines of its own


def main(arguments: list[str]) -> int:
    """Write or check the numbers; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.numbers", description=__doc__)
    parser.add_argument("--check", action="store_true", help="list what differs, write nothing")
    check = parser.parse_args(arguments).check
    try:
        return update(ROOT, check=check)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return UserError.status


def update(root: Path, *, check: bool) -> int:
    """Write the values into all pages below `root`, or list those that differ.

    UserError for a marker that is wrong, a name that is unknown, and a report that is missing or
    about a model that is not the released one.
    """
    released = describes_release(root)
    if not released and not check:
        raise UserError(
            "reports/ describes a model that is not released: run `dvc repro` until `release` "
            "passes, or `git checkout reports`"
        )
    differing = 0
    for path in pages(root):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        filled, last = [], 0
        for insert in find_inserts(text, name):
            value = value_of(insert.name, root / "reports", f"{name}:{insert.line}")
            value = f"\n{value}\n" if insert.block else value
            if (old := text[insert.start : insert.end]) != value and released:
                differing += 1
                what = "" if insert.block else f": {old!r} becomes {value!r}"
                print(f"{name}:{insert.line}: {insert.name}{what}")
            filled += [text[last : insert.start], value]
            last = insert.end
        if not check and filled:
            path.write_text("".join([*filled, text[last:]]), encoding="utf-8")
    if not released:
        print("numbers: not compared, since reports/ describes a model that is not released")
    elif check and differing:
        print("error: these numbers differ from reports/; `make readme` writes them")
    return int(check and differing > 0)


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs/, in order."""
    built = root / "docs/_build"
    found = (path for path in root.glob("docs/**/*.md") if built not in path.parents)
    return [root / "README.md", *sorted(found)]


def find_inserts(text: str, page: str) -> Iterator[Insert]:
    """The places for values in the text of a page. UserError if markers are wrong."""
    opened: re.Match[str] | None = None
    for marker in MARKER.finditer(text):
        line = text.count("\n", 0, marker.start()) + 1
        if (marker["name"] is None) == (opened is None):
            fault = "has no `insert` before it" if opened is None else "stands before an `end`"
            raise UserError(f"{page}:{line}: the marker {marker[0]} {fault}")
        if opened is None:
            opened = marker
            continue
        first = text.count("\n", 0, opened.start()) + 1
        block = text[opened.end()] == "\n"
        between = text[opened.end() : marker.start()]
        if not block and ("\n" in between or _begins_a_line(text, opened)):
            raise UserError(
                f"{page}:{first}: {opened[0]}: within a line, neither may the line begin with the "
                "marker nor the value be broken"
            )
        yield Insert(opened["name"], first, opened.end(), marker.start(), block)
        opened = None
    if opened is not None:
        line = text.count("\n", 0, opened.start()) + 1
        raise UserError(f"{page}:{line}: the marker {opened[0]} has no `end` after it")


def describes_release(root: Path) -> bool:
    """Whether the reports in the working tree are about the model in models/."""
    workspace = Workspace(root)
    digest = Subject.read(workspace.subject).model_sha256
    return digest in (root / "models/SHA256SUMS").read_text(encoding="utf-8")


def _begins_a_line(text: str, marker: re.Match[str]) -> bool:
    """Whether Markdown takes the whole line for HTML, since it begins with this marker."""
    before = text[text.rfind("\n", 0, marker.start()) + 1 : marker.start()]
    return re.fullmatch(r"\s*(?:(?:[-*+>]|\d+\.)\s+)*", before) is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
