"""Packages that are installed with an extra of the distribution only."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import DISTRIBUTION
from pipeline.core.errors import UserError


@contextmanager
def requires(extra: str) -> Iterator[None]:
    """Turn the import of a missing package in the block into a UserError that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: install {DISTRIBUTION}[{extra}]") from error
