"""The environment variables, from their registry."""

from itertools import groupby

from docs.generated.markdown import code, table, words_or_code
from pipeline.core.variables import all_variables


def page() -> str:
    """A table for each group."""
    parts = []
    for group, variables in groupby(all_variables(), key=lambda variable: variable.group):
        rows = [[code(v.name), words_or_code(v.default), v.meaning] for v in variables]
        parts += [f"## {group}\n", table(["Name", "Default", "Meaning"], rows)]
    return "\n".join(parts)
