"""Signatures: whether a trusted key has signed a release, byte for byte.

A signature covers all files of a release folder. It is an OpenSSF model signature in a Sigstore
bundle, made by `pipeline.registry.signing`. Verification needs no network.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing, read_json, sha256
from pipeline.core.reports import JUDGED_PROVIDERS

SIGNATURE = "release.sig"  # made with a key
KEYLESS_SIGNATURE = "release.sigstore.json"  # made by the release workflow
SIGNATURES = (SIGNATURE, KEYLESS_SIGNATURE)  # the only files that a signature does not cover
POINTER, RELEASES = "release.json", "releases"  # in models/: which release its copies are from


def verify(folder: Path, keys: Sequence[Path]) -> dict[str, str]:
    """Verify the signature of a release folder; returns the SHA-256 of each signed file.

    `keys` are files with public keys (PEM), one of which must have signed the folder. UserError if
    the folder is unsigned, if none of the keys has signed it, or if a file was changed, added or
    removed since.
    """
    from model_signing import hashing, verifying  # slow to import

    signature = folder / SIGNATURE
    if not signature.is_file():
        raise UserError(f"{folder} is not signed: it has no {SIGNATURE}")
    content = signature.read_bytes()
    try:
        key = _signer(content, keys)
        every_file = hashing.Config().set_ignored_paths(paths=SIGNATURES, ignore_git_paths=False)
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        with tempfile.TemporaryDirectory() as scratch:  # the bytes that `_signed` reads, too
            copy = Path(scratch) / SIGNATURE
            copy.write_bytes(content)
            config.set_hashing_config(every_file).verify(folder.resolve(), copy)
        return _signed(content)
    except UserError:
        raise
    except Exception as error:  # from parsers and cryptography; they share no narrower base class
        raise UserError(f"{folder} is not as it was signed: {first_line(error)}") from error


def verify_model(model: Path, keys: Sequence[Path]) -> str:
    """Verify the signature that covers a model file; returns the signed SHA-256 of the file.

    The signature is in the file's folder. That of a file in models/, which is a copy, is in the
    folder of its release. UserError as from `verify`, or if the file or the record of execution
    providers next to it is not the signed one.
    """
    folder = release_folder(existing(model))
    signed = verify(folder, keys)
    for path in (model, model.with_name(JUDGED_PROVIDERS)):
        if path.is_file() and signed.get(path.name) != sha256(path):
            raise UserError(f"{path} is not the file that was signed in {folder}")
    return signed[model.name]


def release_folder(model: Path) -> Path:
    """The folder that has the signature for a model file. UserError if the pointer is damaged."""
    pointer = model.with_name(POINTER)
    if not pointer.exists():
        return model.parent
    content = read_json(pointer)
    number = content.get("release") if isinstance(content, dict) else None
    if not isinstance(number, int):
        raise UserError(f"{pointer} does not name a release")
    return model.parent / RELEASES / str(number)


def _signer(content: bytes, keys: Sequence[Path]) -> Path:
    """The key that made a signature, according to the signature. UserError if it is none of them.

    Only verification can tell whether that is true.
    """
    claimed = json.loads(content)["verificationMaterial"]["publicKey"]["hint"]
    for key in keys:
        if _hint(key) == claimed:
            return key
    names = ", ".join(map(str, keys))
    raise UserError(f"the release is signed with another key than {names}")


def _hint(key: Path) -> str:
    """How a signature names a public key. UserError if the file has none."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    try:
        public = load_pem_public_key(existing(key).read_bytes())
    except ValueError as error:
        raise UserError(f"{key} is not a public key in PEM format") from error
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _signed(content: bytes) -> dict[str, str]:
    """The SHA-256 of each file according to a verified signature."""
    statement: Any = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))
    return {file["name"]: file["digest"] for file in statement["predicate"]["resources"]}
