"""The two expected kinds of failure, and how a program reports them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import extras, variables


class UserError(Exception):
    """An error in the input or the environment: one line that says what, where and what to do."""

    status = 2


class RefusedError(Exception):
    """The pipeline works, but it refuses to release the model."""

    status = 1


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """If the block fails in an expected way, print one line to standard error and exit.

    Expected are UserError, RefusedError, OSError and a package that is not installed. Any other
    exception is a defect and propagates. With PIPELINE_DEBUG set, all exceptions propagate.
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
