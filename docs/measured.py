"""The JSON reports of the benchmarks."""

import json
from pathlib import Path
from typing import Any

Values = dict[str, str]  # by the PART of the name; "" is the subject itself


def read(reports: Path, name: str) -> dict[str, Any]:
    """The JSON report of a benchmark."""
    report: dict[str, Any] = json.loads((reports / f"benchmarks/{name}.json").read_bytes())
    return report


def made(report: dict[str, Any]) -> str:
    """Date, hardware and versions of a benchmark."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"Measured on {report['date']}: {hardware['cores']} cores ({hardware['processor']}), "
        f"{hardware['memory_gib']} GiB; {versions}."
    )
