"""What every benchmark writes: reports/benchmarks/NAME.json for programs, NAME.md for people."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipeline.core import environment
from pipeline.core.files import write_json, write_text

REPORTS = Path("reports/benchmarks")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, all others to the right."""
    sides = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(list(rows), headers, "github", disable_numparse=True, colalign=sides)


def write_report(name: str, result: dict[str, Any], text: str, libraries: Sequence[str]) -> None:
    """Write the result, and the text that shows it, each with hardware, versions and the date.

    `libraries` are the packages that were measured, beside those that every report names.
    """
    hardware = environment.hardware()
    versions = environment.versions() | {library: version(library) for library in libraries}
    about = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware}
    write_json(REPORTS / f"{name}.json", about | {"versions": versions} | result)
    used = ", ".join(f"{library} {number}" for library, number in versions.items())
    made_on = (
        f"Made by `python -m benchmarks.{name}` on {about['date']}: {hardware['cores']} cores "
        f"({hardware['processor']}), {hardware['memory_gib']} GiB; {used}."
    )
    write_text(REPORTS / f"{name}.md", f"{text.strip()}\n\n{made_on}\n")
    print(text)
