"""Markdown elements of the generated pages."""

import re
from collections.abc import Iterable, Sequence

from sphinx.pycode import ModuleAnalyzer


def code(value: object) -> str:
    """The value as code; empty for an empty text."""
    text = str(value)
    return f"`{text}`" if text else ""


def words_or_code(default: str) -> str:
    """A default as code, unless it is a phrase, which has spaces or code already."""
    return default if " " in default or "`" in default else code(default)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, without the columns that are empty in every row."""
    cells = [[_cell(value) for value in row] for row in rows]
    used = [n for n in range(len(headers)) if any(row[n] for row in cells)]
    lines = [
        [headers[n] for n in used],
        ["---"] * len(used),
        *([row[n] for n in used] for row in cells),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", r"\|")


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = text.strip()
    if not text:
        return ""
    is_a_word = re.match(r"[a-z]+(?![\w/.]*[\w/])", text)  # not a name, such as w1 or cuda:1
    first = text[0].upper() + text[1:] if is_a_word else text
    return first if first.endswith((".", ":", "?")) else f"{first}."


def attribute_comments(module: str) -> dict[tuple[str, str], str]:
    """The `#:` comments of a module by (class, attribute), in the order of its source."""
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    found = {key: " ".join(lines).strip() for key, lines in analyzer.attr_docs.items()}
    return dict(sorted(found.items(), key=lambda item: analyzer.tagorder[".".join(item[0])]))
