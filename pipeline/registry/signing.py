"""Signs release folders. `verify` is in `pipeline.inference.trust`, which the service uses too."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing, write_bytes
from pipeline.core.variables import SIGNING_KEY_FILE
from pipeline.inference.trust import SIGNATURE, SIGNATURES, verify

if TYPE_CHECKING:  # slow to import
    from model_signing.signing import Config

__all__ = ["sign", "signing_key", "verify"]


def signing_key() -> Path | None:
    """The private key that the environment names; None if releases are not to be signed.

    UserError if it cannot sign.
    """
    name = SIGNING_KEY_FILE.get()
    if name is None:
        return None
    if not name:
        raise UserError(f"{SIGNING_KEY_FILE.name} is empty: unset it, or name a private key")
    _signer(Path(name))
    return Path(name)


def sign(folder: Path, key: Path) -> None:
    """Sign all files of a release folder with a private key: write release.sig.

    `key` is a file with an unencrypted key for ECDSA with P-256 (PEM), as `python -m pipeline keys`
    writes it. An earlier signature is replaced. UserError if the key cannot sign.
    """
    from model_signing import hashing

    files = hashing.Config().set_ignored_paths(paths=SIGNATURES, ignore_git_paths=False)
    config = _signer(key).set_hashing_config(files)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / SIGNATURE
        try:
            config.sign(folder.resolve(), made)
        except ValueError as error:
            raise UserError(f"{folder} cannot be signed: {first_line(error)}") from error
        write_bytes(folder / SIGNATURE, made.read_bytes())


def _signer(key: Path) -> "Config":
    from model_signing.signing import Config

    try:
        return Config().use_elliptic_key_signer(private_key=existing(key))
    except (ValueError, TypeError, AttributeError) as error:  # AttributeError: not an EC key
        raise UserError(
            f"{key} is not an unencrypted private key for ECDSA in PEM format: {first_line(error)}"
        ) from error
