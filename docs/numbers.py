"""python -m docs.numbers: write the numbers of reports/ into README.md and the pages of docs/.

A value stands between two HTML comments, `insert: NAME` and `end`: a table on separate lines, a
number within a line. docs/inserts.py defines the names. `--check` writes nothing; it lists the
differences and exits with status 1 if there are any.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.inserts import value_of
from pipeline.core.errors import UserError, exit_on_failure
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
    block: bool  # whether the value is on separate lines


@exit_on_failure()
def main(arguments: list[str]) -> int:
    """Write or check the numbers; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.numbers", description=__doc__)
    parser.add_argument("--check", action="store_true", help="list differences, write nothing")
    return update(ROOT, check=parser.parse_args(arguments).check)


def update(root: Path, *, check: bool) -> int:
    """Write the values into all pages below `root`, or list those that differ.

    UserError for a misplaced marker, an unknown name or a missing report, and, unless `check`, if
    the reports describe a model that is not released.
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
        print("numbers not compared: reports/ describes a model that is not released")
    elif check and differing:
        print("error: these numbers differ from reports/: run `make readme`")
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
            fault = "has no `insert` before it" if opened is None else "comes before an `end`"
            raise UserError(f"{page}:{line}: the marker {marker[0]} {fault}")
        if opened is None:
            opened = marker
            continue
        first = text.count("\n", 0, opened.start()) + 1
        block = text[opened.end()] == "\n"
        between = text[opened.end() : marker.start()]
        if not block and ("\n" in between or _begins_a_line(text, opened)):
            raise UserError(
                f"{page}:{first}: {opened[0]} is within a line: the line must not begin with the "
                "marker, and the value must not contain a line break"
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
    """Whether the line begins with this marker, so that Markdown treats it as HTML."""
    before = text[text.rfind("\n", 0, marker.start()) + 1 : marker.start()]
    return re.fullmatch(r"\s*(?:(?:[-*+>]|\d+\.)\s+)*", before) is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
