"""The two foreseen ways for a command to fail, and the first line of any error."""


class UserError(Exception):
    """An error of the user or of the world: one line that says what, where and what to do."""

    status = 2


class RefusedError(Exception):
    """The pipeline works, but the model may not be released."""

    status = 1


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type's name, if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
