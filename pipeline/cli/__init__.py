"""The command line: a module for each group of commands; `main` is the program."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Never

from pipeline.cli.app import app, program_name
from pipeline.core import loopback
from pipeline.core.errors import exit_on_failure

__all__ = ["app", "main"]

_GROUPS = (
    "stages",
    "models",
    "serving",
    "labels",
    "registry",
    "experiments",
    "tracking",
    "monitoring",
    "signing",
)
for _group in _GROUPS:  # the order of the help
    import_module(f"pipeline.cli.{_group}")


def main() -> Never:
    """Run the command line; an expected failure prints one line and sets the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    loopback.bypass_proxy()
    if sys.stdout is not None:  # escape what its encoding lacks, as standard error does
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stderr is None:  # it was closed
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
    with exit_on_failure():
        app(prog_name=program_name(), standalone_mode=True)
    sys.exit(0)


def _stop(number: int, frame: FrameType | None) -> Never:
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)
