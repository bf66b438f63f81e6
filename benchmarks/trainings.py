"""Many trainings, as many at once as there are cores, one thread each; each is a row of a table.

The table is a CSV file in git: a command that was stopped goes on where it was, also elsewhere.
"""

import ast
import csv
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pipeline.training.device import reuse_memory


def digest(*parts: Any) -> str:
    """A short name for all that decides a training: numbers, texts, lists and mappings of them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def code_digest(path: Path) -> str:
    """The SHA-256 of what a module does: comments, docstrings and layout are left out."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            node.body = node.body[documented:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table so far."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Append to the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def add_rows(
    path: Path, train: Callable[..., dict[str, Any]], trainings: Iterable[Sequence[Any]]
) -> None:
    """Call `train` with each of the arguments and append what it returns, in order of finishing.

    If one fails, those that have not begun are given up.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=_prepare) as pool:
        futures = [pool.submit(train, *arguments) for arguments in trainings]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit=" trainings"):
                add_row(path, future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _prepare() -> None:
    torch.set_num_threads(1)
    reuse_memory()
