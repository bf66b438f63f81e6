"""python -m pipeline COMMAND: a module for each group of commands; `main` is the program."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Never

from pipeline.cli.app import app
from pipeline.core import extras, loopback, variables
from pipeline.core.errors import RefusedError, UserError

__all__ = ["app", "main"]

for _group in ("stages", "models", "experiments", "tracking"):  # the order of the help
    import_module(f"pipeline.cli.{_group}")


def main() -> Never:
    """Run the command line; every foreseen failure is one line and an exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    loopback.bypass_proxy()
    if sys.stdout is not None:  # what its encoding lacks is escaped, as on standard error
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stderr is None:  # it was closed
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
    try:
        app(prog_name="python -m pipeline", standalone_mode=True)
    except (UserError, RefusedError) as error:
        _fail(str(error), error.status, error)
    except ModuleNotFoundError as error:
        if (advice := extras.advice(error)) is None:
            raise
        _fail(advice, UserError.status, error)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", UserError.status, error)
    sys.exit(0)


def _fail(message: str, status: int, error: BaseException) -> Never:
    if variables.DEBUG.get():
        raise error
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _stop(number: int, frame: FrameType | None) -> Never:
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)
