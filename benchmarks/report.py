"""What every benchmark writes: reports/benchmarks/NAME.json for programs, NAME.md for people."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core import environment
from pipeline.core.files import write_json, write_text
from pipeline.core.workspace import Workspace


def reports(workspace: Workspace) -> Path:
    """The folder of the benchmarks' reports."""
    return workspace.root / "reports/benchmarks"


def write_report(
    workspace: Workspace, name: str, result: dict[str, Any], text: str, libraries: Sequence[str]
) -> None:
    """Write the result and its text, each with hardware, versions and date.

    `libraries` are the measured packages that not every report lists.
    """
    hardware = environment.hardware()
    versions = environment.versions() | {library: version(library) for library in libraries}
    about = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware}
    write_json(reports(workspace) / f"{name}.json", about | {"versions": versions} | result)
    used = ", ".join(f"{library} {number}" for library, number in versions.items())
    made_on = (
        f"Measured by `python -m benchmarks {name}` on {about['date']}: {hardware['cores']} cores "
        f"({hardware['processor']}), {hardware['memory_gib']} GiB; {used}."
    )
    write_text(reports(workspace) / f"{name}.md", f"{text.strip()}\n\n{made_on}\n")
    print(text)
