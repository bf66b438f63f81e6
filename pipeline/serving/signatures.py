"""What a file that is no readable picture is, told by its first bytes."""

from collections.abc import Sequence


def what_it_is(content: bytes, formats: Sequence[str]) -> str:
    """A sentence that says what the content is, and which formats are read."""
    return f"it is no picture ({', '.join(formats)})"
