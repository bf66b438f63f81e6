"""Signatures: whether a trusted key has signed a release, byte for byte.

A signature covers all files of a release folder. It is an OpenSSF model signature: a Sigstore
bundle that contains a signed statement with the SHA-256 of each file. `pipeline.registry.signing`
makes it. Verification needs no network.

Sources: https://github.com/sigstore/model-transparency (the statement),
https://github.com/secure-systems-lab/dsse (what exactly is signed).
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing, sha256
from pipeline.core.reports import JUDGED_PROVIDERS

SIGNATURE = "release.sig"  # made with a key
KEYLESS_SIGNATURE = "release.sigstore.json"  # made by the release workflow
SIGNATURES = (SIGNATURE, KEYLESS_SIGNATURE)  # the only files that a signature does not cover
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"  # type of the signature file
CHECKSUMS = "SHA256SUMS"
STATEMENT = "application/vnd.in-toto+json"  # type of what is signed
PREDICATE = "https://model_signing/signature/v1.0"  # type of the statement
DIGESTS = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # by curve


def verify(folder: Path, keys: Sequence[Path]) -> dict[str, str]:
    """Verify the signature of a release folder; returns the SHA-256 of each signed file, by name.

    `keys` are files with public keys (PEM), one of which must have signed the folder. UserError if
    the folder is unsigned, if none of the keys has signed it, or if a file was changed, added or
    removed since.
    """
    signed = _signed_files(folder / SIGNATURE, keys)
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    found = {
        name: path for name, path in paths.items() if name not in SIGNATURES and not _is_dir(path)
    }
    for name in sorted(signed.keys() | found.keys()):
        _require_signed(folder / name, signed.get(name))
    return signed


def verify_model(model: Path, keys: Sequence[Path]) -> str:
    """Verify a model file by the signature next to it; returns the signed SHA-256 of the file.

    The other files of the release need not be there, as in models/, which has copies of some with
    checksums of these. UserError as from `verify`, also for other signed files that are there.
    """
    signed = _signed_files(model.with_name(SIGNATURE), keys)
    _require_signed(existing(model), signed.get(model.name))
    for name in (JUDGED_PROVIDERS, *sorted(signed.keys() - {CHECKSUMS})):
        if (path := model.parent / name).exists():
            _require_signed(path, signed.get(name))
    return signed[model.name]


def _require_signed(path: Path, digest: str | None) -> None:
    """UserError unless the file has this SHA-256. A link does not: its target may change."""
    if digest is None:
        raise UserError(f"{path} is not signed: it is not in {SIGNATURE}")
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path} is not as it was signed: it is missing or no regular file")
    if sha256(path) != digest:
        raise UserError(f"{path} is not as it was signed: it has another SHA-256")


def _is_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _signed_files(signature: Path, keys: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by name, that one of the keys has signed. UserError if none has."""
    if not signature.is_file():
        raise UserError(f"{signature.parent} is not signed: it has no {SIGNATURE}")
    publics = [_read_key(key) for key in keys]
    try:
        bundle = json.loads(signature.read_bytes())
        envelope = bundle["dsseEnvelope"]
        if (bundle["mediaType"], envelope["payloadType"]) != (BUNDLE, STATEMENT):
            raise ValueError("it is of another type")
        (given,) = envelope["signatures"]
        payload, made = base64.b64decode(envelope["payload"]), base64.b64decode(given["sig"])
        message = b"DSSEv1 %d %s %d " % (len(STATEMENT), STATEMENT.encode(), len(payload)) + payload
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{signature} is not a signature: {first_line(error)}") from error
    if not any(_has_signed(public, made, message) for public in publics):
        names = ", ".join(map(str, keys)) or "no key"
        raise UserError(f"{signature} is not from a trusted key, or is damaged; trusted: {names}")
    return _files(signature, json.loads(payload))


def _files(signature: Path, statement: Any) -> dict[str, str]:
    """The files of a statement that a trusted key has signed. UserError if it is of another kind.

    The key may have signed other things too, such as a folder with links.
    """
    try:
        predicate = statement["predicate"]
        is_known = statement["predicateType"] == PREDICATE
        is_known &= predicate["serialization"]["method"] == "files"
        files = {file["name"]: file for file in predicate["resources"]}
        is_known &= all(file["algorithm"] == "sha256" for file in files.values())
        if is_known:
            return {name: str(file["digest"]) for name, file in files.items()}
    except (KeyError, TypeError) as error:
        raise UserError(f"{signature} does not list files: {first_line(error)}") from error
    raise UserError(f"{signature} is not the signature of files by their SHA-256")


def _has_signed(public: Any, made: bytes, message: bytes) -> bool:
    """Whether the owner of an ECDSA key made this signature of the message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    digest = getattr(hashes, DIGESTS[public.curve.name])()
    try:
        public.verify(made, message, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def _read_key(path: Path) -> Any:
    """A public key. UserError if the file has none of a supported kind."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(existing(path).read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path} is not a public key in PEM format") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in DIGESTS:
        return key
    raise UserError(f"{path} is not a key for ECDSA with a curve of NIST: P-256, P-384 or P-521")
