"""The make targets, from `make help`."""

import re
import subprocess
from pathlib import Path

from docs.generated.markdown import code, sentence, table

ROOT = Path(__file__).parents[2]


def page() -> str:
    """A table for each group of targets."""
    command = ["make", "--no-print-directory", "--silent", "help"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return from_help(shown)


def from_help(shown: str) -> str:
    """The tables of what `make help` prints: titles, and a line for each target."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", shown.strip("\n")):
        title, *lines = block.splitlines()
        if title.startswith(" "):  # `help` comes before the first title
            title, lines = "Help", block.splitlines()
        rows = [line.split(maxsplit=2)[1:] for line in lines]
        targets = [[code(f"make {name}"), sentence(meaning)] for name, meaning in rows]
        parts += [f"## {title}\n", table(["Target", "What it does"], targets)]
    return "\n".join(parts)
