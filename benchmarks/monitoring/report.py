"""The tables of the benchmark `monitoring`: for its report, and for the documentation."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.tables import table

Row = dict[str, Any]  # a change by one severity, as `power.power` returns it


def show(result: dict[str, Any], images: int, intended: float) -> str:
    """The report in Markdown. `images`: of the test set; `intended`: false alarms per window."""
    parts = [
        "A window differs if the p-value of any test is below the threshold. Lost: accuracy on the "
        f"images that are said to show a class, in percentage points below that of the unchanged "
        f"test images; estimated: the same from calibrated confidences. {images:,} test images, "
        f"from which {result['trials']:,} windows are drawn."
    ]
    for size, measured in result["windows"].items():
        shares, unchanged = measured["false_alarms"], measured["power"][0]
        parts += [
            f"## Windows of {size} images",
            f"False alarms: {per_thousand(shares)} per 1,000 windows, in "
            f"{len(shares) * result['trials']:,} windows of held-out training images "
            f"({per_thousand([min(shares)])} to {per_thousand([max(shares)])} in those of a split, "
            f"{len(shares)} splits); {per_thousand([intended])} is intended.",
            table(
                ["change", "severity", "windows until noticed", *unchanged["by_test"], "refused",
                 "lost", "estimated"],
                [_by_test(row, unchanged) for row in measured["power"]],
            ),
        ]  # fmt: skip
    return "\n\n".join(parts)


def power_table(result: dict[str, Any]) -> str:
    """A row for each change and severity: how soon windows of each size notice it, and its cost."""
    powers = [measured["power"] for measured in result["windows"].values()]
    rows = [
        [
            first["change"],
            first["severity"],
            *map(until_noticed, [first, *others]),
            *losses(first, powers[0][0]),
        ]
        for first, *others in zip(*powers, strict=True)
    ]
    headers = [f"windows of {size} until noticed" for size in result["windows"]]
    return table(["change", "severity", *headers, "accuracy lost", "estimated loss"], rows)


def until_noticed(row: Row) -> str:
    """The mean number of windows until one raises an alarm; "-" if none did."""
    return f"{1 / row['noticed']:.1f}" if row["noticed"] else "-"


def losses(row: Row, unchanged: Row) -> list[str]:
    """The accuracy that a change costs, measured and estimated, in percentage points."""
    return [
        "-" if row[name] is None else f"{100 * (unchanged[name] - row[name]):z.1f}"
        for name in ("accuracy", "estimated")
    ]


def per_thousand(shares: Sequence[float]) -> str:
    """The mean of shares of windows, as a number of 1,000."""
    return f"{1000 * mean(shares):.1f}"


def _by_test(row: Row, unchanged: Row) -> list[str]:
    return [
        row["change"],
        row["severity"],
        until_noticed(row),
        *(f"{share:.0%}" for share in row["by_test"].values()),
        f"{row['refused']:.1%}",
        *losses(row, unchanged),
    ]
