"""Makes the pair of keys with which releases are signed and verified."""

import os
import subprocess
from pathlib import Path

from pipeline.core.errors import UserError

PRIVATE, PUBLIC = "release.key", "release.pub"


def default_folder() -> Path:
    """Where the keys of a user are, outside any checkout."""
    return Path.home() / ".config/gated-mnist"


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new private and public key to a folder; returns the two files.

    The keys are for ECDSA with the curve P-256, in PEM format; only the owner can read the private
    one. UserError if there are keys already, or if git would add them to a repository.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = folder / PRIVATE, folder / PUBLIC
    _require_outside_git(private)
    for path in (private, public):
        if path.exists():
            raise UserError(f"{path} exists: name another folder, or move it away")
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    encoding = serialization.Encoding.PEM
    _write(
        private,
        key.private_bytes(
            encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        0o600,
    )
    _write(
        public,
        key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo),
        0o644,
    )
    return private, public


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet, and that nobody else can read meanwhile."""
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UserError(f"{path} exists: name another folder, or move it away") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _require_outside_git(path: Path) -> None:
    """UserError if `path` is in a git work tree that does not ignore it."""
    here = path.absolute()
    tree = next((folder for folder in here.parents if (folder / ".git").exists()), None)
    if tree is None:
        return
    command = ["git", "-C", str(tree), "check-ignore", "--quiet", str(here)]
    try:
        ignored = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # git is not installed
        ignored = False
    if not ignored:
        raise UserError(
            f"{path} would be in the git repository {tree}: name a folder outside it, or one that "
            "it ignores"
        )
