"""The two foreseen ways for a command to fail, and how a program reports them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import extras, variables


class UserError(Exception):
    """An error of the user or of the world: one line that says what, where and what to do."""

    status = 2


class RefusedError(Exception):
    """The pipeline works, but the model may not be released."""

    status = 1


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type's name, if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """Exit with one line on standard error and a status if the block fails in a foreseen way.

    Foreseen are UserError, RefusedError, OSError and a package that is not installed. Anything else
    is a defect and passes, as everything does with PIPELINE_DEBUG set.
    """
    try:
        yield
    except (UserError, RefusedError, ModuleNotFoundError, OSError) as error:
        message = _message(error)
        if message is None or variables.DEBUG.get():
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(getattr(error, "status", UserError.status))


def _message(error: Exception) -> str | None:
    if isinstance(error, ModuleNotFoundError):
        return extras.advice(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return str(error)
