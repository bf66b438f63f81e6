"""What every benchmark writes: reports/benchmarks/NAME.json for programs, NAME.md for people."""

from collections.abc import Mapping, Sequence
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
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": environment.hardware(),
        "versions": environment.versions() | {library: version(library) for library in libraries},
        **result,
    }
    made = f"Measured by `python -m benchmarks {name}` on {conditions(report)}."
    write_json(reports(workspace) / f"{name}.json", report)
    write_text(reports(workspace) / f"{name}.md", f"{text.strip()}\n\n{made}\n")
    print(text)


def conditions(report: Mapping[str, Any]) -> str:
    """When and on what a report was measured: date, hardware and versions."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return (
        f"{report['date']}: {hardware['cores']} cores ({hardware['processor']}), "
        f"{hardware['memory_gib']} GiB; {versions}"
    )
