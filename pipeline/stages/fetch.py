"""fetch: the four MNIST files from the first mirror that has them, each with the right SHA-256."""

import hashlib
import logging
import sys
import time
from pathlib import Path

import pooch
import requests

from pipeline.errors import UserError
from pipeline.files import replacing, write_bytes
from pipeline.params import Fetch
from pipeline.paths import RAW


class MirrorError(Exception):
    """This mirror does not have the file, or not the right one."""


def run(params: Fetch) -> None:
    """Fill data/raw. UserError lists every mirror with its reason if a file cannot be had."""
    pooch.get_logger().setLevel(logging.WARNING)  # what is said is said here
    for name, digest in params.files.items():
        fetch_file(name, digest, params)


def fetch_file(name: str, digest: str, params: Fetch) -> None:
    """Put one file into data/raw, from the first mirror that gives it with this SHA-256."""
    reasons = []
    for mirror in params.mirrors:
        try:
            if mirror.startswith(("http://", "https://")):
                download(f"{mirror.rstrip('/')}/{name}", digest, RAW / name, params)
            else:
                copy(Path(mirror), name, digest, RAW / name)
        except MirrorError as error:
            reasons.append(f"{mirror}: {error}")
            print(f"{name}: not from {reasons[-1]}", file=sys.stderr)
        else:
            print(f"{name}: from {mirror}")
            return
    raise UserError(
        f"no mirror has {name} with SHA-256 {digest[:12]}…; put the four files into a folder and "
        "name it first in params.yaml, fetch.mirrors. Tried:\n  " + "\n  ".join(reasons)
    )


def copy(folder: Path, name: str, digest: str, target: Path) -> None:
    """Copy a file from a local mirror. MirrorError if it is not there, not readable or not it."""
    if not folder.is_dir():
        raise MirrorError("no such folder")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise MirrorError(error.strerror) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise MirrorError(f"corrupt, {len(content):,} bytes with SHA-256 {found[:12]}…")
    write_bytes(target, content)


def download(url: str, digest: str, target: Path, params: Fetch) -> None:
    """Download a file, with retries after network faults. MirrorError if that does not give it."""
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=params.timeout)
    for attempt in range(params.retries + 1):
        try:
            with replacing(target) as temporary:
                pooch.retrieve(
                    url, f"sha256:{digest}", temporary.name, temporary.parent, downloader=downloader
                )
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if status is not None and status < 500:
                raise MirrorError(f"HTTP status {status}") from error
            reason = f"HTTP status {status}" if status else type(error).__name__
            if attempt == params.retries:
                raise MirrorError(f"{reason} in {attempt + 1} attempts") from error
            delay = params.backoff * 2**attempt
            print(f"{url}: {reason}, again in {delay:g} s", file=sys.stderr)
            time.sleep(delay)
        except ValueError as error:  # of pooch: the digest
            raise MirrorError("corrupt: what it sent has another SHA-256") from error
        else:
            return
