"""The two ways in which a command ends other than well, and what is said of others' errors."""


class UserError(Exception):
    """A mistake of the user or of the world: one line that says what, where and what to do."""

    status = 2


class RefusedError(Exception):
    """The pipeline works, but the model may not be released."""

    status = 1


def first_line(error: BaseException) -> str:
    """What an error says, without what follows; its name, if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
