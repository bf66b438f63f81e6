"""The `fetch` stage: get each data file from the first mirror that has it with the right digest."""

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import urllib3
from tqdm import tqdm

from pipeline.config import Fetch
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import replacing, write_bytes
from pipeline.core.workspace import Workspace

TRANSIENT = {408, 425, 429}  # HTTP statuses below 500 that are worth a retry


class MirrorError(Exception):
    """This mirror does not provide the file, or not with the right digest."""


def run(workspace: Workspace, params: Fetch) -> None:
    """Fill data/raw.

    Raises UserError, with the reason for each mirror, if no mirror provides a file.
    """
    for name, digest in params.files.items():
        fetch_file(workspace, name, digest, params)


def fetch_file(workspace: Workspace, name: str, digest: str, params: Fetch) -> None:
    """Store one file in data/raw from the first mirror that has it with this SHA-256."""
    reasons = []
    for mirror in params.mirrors:
        try:
            if re.match("https?://", mirror, re.IGNORECASE):
                download(f"{mirror.rstrip('/')}/{name}", digest, workspace.raw / name, params)
            else:
                copy(workspace.root / local_folder(mirror), name, digest, workspace.raw / name)
        except MirrorError as error:
            reasons.append(f"{mirror}: {error}")
            print(f"{name}: skipping mirror {reasons[-1]}", file=sys.stderr)
        else:
            print(f"{name}: from {mirror}")
            return
    raise UserError(
        f"no mirror has {name} with SHA-256 {digest[:12]}…; put the files that fetch.files lists "
        "into a folder and add it as the first of fetch.mirrors in params.yaml. Mirrors tried:\n  "
        + "\n  ".join(reasons)
    )


def local_folder(mirror: str) -> Path:
    """Return the folder of a local mirror, with `~` expanded.

    Raises MirrorError if `mirror` names no local folder.
    """
    scheme, separator, _ = mirror.partition(":")
    if scheme.lower() == "file" and separator:
        address = urlsplit(mirror)
        if address.netloc not in ("", "localhost"):
            raise MirrorError("on another machine; mount the folder and use its local path")
        return Path(url2pathname(address.path))
    if "://" in mirror:
        raise MirrorError(f"{scheme}:// is not supported; use a folder, file:// or http(s)://")
    try:
        return Path(mirror).expanduser()
    except RuntimeError as error:
        raise MirrorError("no such user") from error


def copy(folder: Path, name: str, digest: str, target: Path) -> None:
    """Copy a file from a local mirror.

    Raises MirrorError if the file is missing, unreadable or has another digest.
    """
    try:
        if not folder.is_dir():
            raise MirrorError("no such folder")
        if (folder / name).exists() and not (folder / name).is_file():
            raise MirrorError("not a regular file")
        content = (folder / name).read_bytes()
    except OSError as error:
        raise MirrorError(error.strerror) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise MirrorError(f"corrupt, {len(content):,} bytes with SHA-256 {found[:12]}…")
    write_bytes(target, content)


def download(url: str, digest: str, target: Path, params: Fetch) -> None:
    """Download a file, with retries after transient errors. Raises MirrorError on failure."""
    deadline = time.monotonic() + params.time_limit
    timed_out = MirrorError(f"incomplete after {params.time_limit:g} s")
    for attempt in range(params.retries + 1):
        try:
            with replacing(target) as temporary:
                found = _run_until(
                    deadline, partial(receive, url, temporary, params.timeout, deadline)
                )
                if found != digest:
                    raise MirrorError(f"corrupt, received SHA-256 {found[:12]}…")
            return
        except TimeoutError as error:
            raise timed_out from error
        except ValueError as error:  # includes the URL errors of requests
            raise MirrorError(f"invalid URL: {first_line(error)}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            response = getattr(error, "response", None)
            status = None if response is None else response.status_code
            if status is not None and status < 500 and status not in TRANSIENT:
                raise MirrorError(f"HTTP status {status}") from error
            reason = f"HTTP status {status}" if status else type(error).__name__
            if attempt == params.retries:
                raise MirrorError(f"{reason} after {attempt + 1} attempts") from error
            retry_after = 0.0 if response is None else _retry_after(response)
            if retry_after > params.timeout:
                raise MirrorError(f"{reason}, Retry-After {retry_after:g} s") from error
            delay = max(params.backoff * 2**attempt, retry_after)
            if time.monotonic() + delay > deadline:
                raise timed_out from error
            print(f"{url}: {reason}, retrying in {delay:g} s", file=sys.stderr)
            time.sleep(delay)


def receive(url: str, target: Path, timeout: float, deadline: float) -> str:
    """Write the undecoded response body to `target`, which exists, and return its SHA-256.

    If `target` is gone by then, because the download was stopped, it is not created again. Some
    servers send a .gz file with `Content-Encoding: gzip`; decoding would unpack the file. Raises
    the errors of requests and urllib3, and TimeoutError after `deadline`.
    """
    digest = hashlib.sha256()
    headers = {"Accept-Encoding": "identity"}
    with (
        requests.get(url, headers=headers, stream=True, timeout=timeout) as response,
        target.open("r+b") as file,
        tqdm(desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=None) as progress,
    ):
        response.raise_for_status()
        progress.total = response.raw.length_remaining
        while chunk := response.raw.read1(2**16, decode_content=False):
            file.write(chunk)
            digest.update(chunk)
            progress.update(len(chunk))
            if time.monotonic() > deadline:
                raise TimeoutError
    return digest.hexdigest()


def _run_until(deadline: float, work: Callable[[], str]) -> str:
    """Return the result of `work`; on TimeoutError, its thread keeps running.

    The timeout of requests applies to single reads, so a server that sends its headers byte by
    byte never triggers it.
    """
    result: Future[str] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while time.monotonic() < deadline:
        if wait([result], timeout=0.5).done:  # short waits, so that signals are handled
            return result.result()
    raise TimeoutError


def _retry_after(response: requests.Response) -> float:
    """Return the response's Retry-After in seconds, 0 if it is missing or invalid."""
    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except urllib3.exceptions.InvalidHeader:
        return 0.0
