"""Trainings as rows of a CSV table in git: interrupted commands resume, on any machine."""

import ast
import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training.processes import on_all_cores

OWN = ("pipeline", "benchmarks")


def digest(*values: Any) -> str:
    """A short digest of what determines a training: numbers, texts, lists and mappings."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]


def code_digest(path: Path) -> str:
    """The SHA-256 of a module's code, without comments, docstrings and layout.

    Of imports from the project only the imported names count, so modules may move.
    """
    tree = ast.parse(path.read_bytes())
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            statements = []
            for statement in node.body[documented:]:
                if isinstance(statement, ast.ImportFrom) and _is_own(statement):
                    imported |= {ast.unparse(name) for name in statement.names}
                else:
                    statements.append(statement)
            node.body = statements or [ast.Pass()]
    return hashlib.sha256("\n".join([*sorted(imported), ast.unparse(tree)]).encode()).hexdigest()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table so far."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to the table, which gets the columns that it lacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(path)
    columns = list(rows[0]) if rows else []
    if missing := [name for name in row if name not in columns]:
        columns += missing
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, columns).writerow(row)


def add_rows(
    path: Path, train: Callable[..., dict[str, Any]], trainings: Sequence[Sequence[Any]]
) -> None:
    """Call `train` for each tuple of arguments, on all cores, and append what it returns."""
    for row in on_all_cores(train, trainings):
        add_row(path, row)


def _is_own(statement: ast.ImportFrom) -> bool:
    return (statement.module or "").partition(".")[0] in OWN
