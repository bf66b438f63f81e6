"""The tokens that clients must send, if the environment sets them."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.variable import Variable
from pipeline.core.variables import (
    ADMIN_TOKEN,
    ADMIN_TOKEN_FILE,
    REVIEW_TOKEN,
    REVIEW_TOKEN_FILE,
    SERVE_TOKEN,
    SERVE_TOKEN_FILE,
    WEBHOOK_SECRET,
    WEBHOOK_SECRET_FILE,
)


@dataclass(frozen=True)
class Tokens:
    """What a client must send to use the service, and to change it."""

    use: str | None = field(default=None, repr=False)  # None: anyone may use the service
    admin: str | None = field(default=None, repr=False)  # None: nobody may change it
    review: str | None = field(default=None, repr=False)  # None: only the admin may review
    webhook: str | None = field(default=None, repr=False)  # MLflow's secret; None: no webhook


def read_tokens() -> Tokens:
    """The tokens in the environment, or in the files that it names.

    UserError if one is unusable, or if two are the same: any user could then change the service.
    """
    tokens = Tokens(
        use=_read(SERVE_TOKEN, SERVE_TOKEN_FILE),
        admin=_read(ADMIN_TOKEN, ADMIN_TOKEN_FILE),
        review=_read(REVIEW_TOKEN, REVIEW_TOKEN_FILE),
        webhook=_read(WEBHOOK_SECRET, WEBHOOK_SECRET_FILE),
    )
    for one, other, could in (
        (SERVE_TOKEN, ADMIN_TOKEN, "every user could change the service"),
        (SERVE_TOKEN, REVIEW_TOKEN, "every user could review"),
        (REVIEW_TOKEN, ADMIN_TOKEN, "every reviewer could change the service"),
    ):
        values = {SERVE_TOKEN: tokens.use, ADMIN_TOKEN: tokens.admin, REVIEW_TOKEN: tokens.review}
        if values[one] is not None and values[one] == values[other]:
            raise UserError(
                f"{one.name} and {other.name} are the same token, so that {could}; choose another "
                "one for either"
            )
    return tokens


def _read(in_environment: Variable, in_file: Variable) -> str | None:
    token, file, name = in_environment.get(), in_file.get(), in_environment.name
    if token is not None and file is not None:
        raise UserError(f"both {name} and {in_file.name} are set; unset one")
    if file is not None:
        name = in_file.name
        try:
            token = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise UserError(f"{name}: {file!r} cannot be read: {reason}") from error
    if token is None:
        return None
    token = token.strip()
    if not (token and token.isascii() and token.isprintable()):
        raise UserError(f"the token in {name} is empty or not printable ASCII")
    return token
