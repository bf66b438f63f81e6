"""python -m benchmarks: what is measured here, and the commands that measure it."""

import ast
import re
from pathlib import Path

COMMAND = re.compile(r"(python -m benchmarks\.\w+): (.+)")


def listed() -> list[tuple[str, str]]:
    """Each benchmark's command and what it measures, as its module says in its first line."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        match = COMMAND.match(text)
        if match and "Run by `benchmarks." not in text:
            found.append((match[1], match[2]))
    return found


if __name__ == "__main__":
    for command, measured in listed():
        print(f"{command:32}  {measured}")
    print("\n`make bench` runs all but the recipe's, for hours; each has a --help.")
