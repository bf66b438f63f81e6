"""The token that clients must send, if the environment sets one."""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.variables import SERVE_TOKEN, SERVE_TOKEN_FILE


def read_token() -> str | None:
    """The token in the environment or in the file that it names. UserError if it is unusable."""
    token, file = SERVE_TOKEN.get(), SERVE_TOKEN_FILE.get()
    if token is not None and file is not None:
        raise UserError(f"both {SERVE_TOKEN.name} and {SERVE_TOKEN_FILE.name} are set; unset one")
    name = SERVE_TOKEN.name
    if file is not None:
        name = SERVE_TOKEN_FILE.name
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
