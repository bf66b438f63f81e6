"""The JSON reports of the benchmarks."""

import json
from pathlib import Path
from typing import Any

from benchmarks.report import conditions

Values = dict[str, str]  # by the PART of the name; "" is the subject itself


def read(reports: Path, name: str) -> dict[str, Any]:
    """The JSON report of a benchmark."""
    report: dict[str, Any] = json.loads((reports / f"benchmarks/{name}.json").read_bytes())
    return report


def made(report: dict[str, Any]) -> str:
    """When and on what a benchmark was measured, as a sentence."""
    return f"Measured on {conditions(report)}."
