"""The pieces of Markdown that generated pages consist of."""

import re
from collections.abc import Iterable, Sequence

from sphinx.pycode import ModuleAnalyzer


def code(value: object) -> str:
    """The value as code; nothing for an empty text."""
    text = str(value)
    return f"`{text}`" if text else ""


def words_or_code(default: str) -> str:
    """A default: code, unless it is told in words, which have spaces or code of their own."""
    return default if " " in default or "`" in default else code(default)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns that are empty in every row are left out."""
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
    """What `#:` comments say of (class, attribute) in a module, in the order of its source."""
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    found = {key: " ".join(lines).strip() for key, lines in analyzer.attr_docs.items()}
    return dict(sorted(found.items(), key=lambda item: analyzer.tagorder[".".join(item[0])]))
