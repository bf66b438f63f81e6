"""Markdown tables and the cells that they share; uses the standard library only."""

from collections.abc import Iterable, Sequence
from statistics import median


def table(headers: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table: the first column aligned left, all others right. "" without rows."""
    lines = [[str(cell) for cell in row] for row in (headers, *rows)]
    if len(lines) == 1:
        return ""
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *aligned[1:]])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(lines[0]), line(rule), *map(line, lines[1:])])


def median_and_range(values: Sequence[float], form: str) -> str:
    """`median (lowest to highest)`, each number in this format."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
