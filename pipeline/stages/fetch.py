"""fetch: the published files of the data set, each from the first mirror that has it unaltered."""

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

PASSING = {408, 425, 429}  # HTTP statuses below 500 after which another attempt may succeed


class MirrorError(Exception):
    """This mirror does not have the file, or not the right one."""


def run(workspace: Workspace, params: Fetch) -> None:
    """Fill data/raw. UserError lists every mirror with its reason if a file cannot be had."""
    for name, digest in params.files.items():
        fetch_file(workspace, name, digest, params)


def fetch_file(workspace: Workspace, name: str, digest: str, params: Fetch) -> None:
    """Put one file into data/raw, from the first mirror that gives it with this SHA-256."""
    reasons = []
    for mirror in params.mirrors:
        try:
            if re.match("https?://", mirror, re.IGNORECASE):
                download(f"{mirror.rstrip('/')}/{name}", digest, workspace.raw / name, params)
            else:
                copy(workspace.root / folder_of(mirror), name, digest, workspace.raw / name)
        except MirrorError as error:
            reasons.append(f"{mirror}: {error}")
            print(f"{name}: not from {reasons[-1]}", file=sys.stderr)
        else:
            print(f"{name}: from {mirror}")
            return
    raise UserError(
        f"no mirror has {name} with SHA-256 {digest[:12]}…; put the files of fetch.files into a "
        "folder and name it first in params.yaml, fetch.mirrors. Tried:\n  " + "\n  ".join(reasons)
    )


def folder_of(mirror: str) -> Path:
    """The folder that a mirror is; `~` is the home folder. MirrorError if it is none."""
    scheme, separator, _ = mirror.partition(":")
    if scheme.lower() == "file" and separator:
        address = urlsplit(mirror)
        if address.netloc not in ("", "localhost"):
            raise MirrorError("a folder of another machine; mount it, and name it as it is here")
        return Path(url2pathname(address.path))
    if "://" in mirror:
        raise MirrorError(f"{scheme}:// is not supported, only folders, file://, http(s)://")
    try:
        return Path(mirror).expanduser()
    except RuntimeError as error:
        raise MirrorError("no such user") from error


def copy(folder: Path, name: str, digest: str, target: Path) -> None:
    """Copy a file from a local mirror. MirrorError if it is not there, not readable or not it."""
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
    """Download a file, again after faults that may pass. MirrorError if that does not give it."""
    deadline = time.monotonic() + params.time_limit
    late = MirrorError(f"not complete within {params.time_limit:g} s")
    for attempt in range(params.retries + 1):
        try:
            with replacing(target) as temporary:
                found = _before(
                    deadline, partial(receive, url, temporary, params.timeout, deadline)
                )
                if found != digest:
                    raise MirrorError("corrupt: what it sent has another SHA-256")
            return
        except TimeoutError as error:
            raise late from error
        except ValueError as error:  # of requests, too
            raise MirrorError(f"leads to no address: {first_line(error)}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            response = getattr(error, "response", None)
            status = None if response is None else response.status_code
            if status is not None and status < 500 and status not in PASSING:
                raise MirrorError(f"HTTP status {status}") from error
            reason = f"HTTP status {status}" if status else type(error).__name__
            if attempt == params.retries:
                raise MirrorError(f"{reason} in {attempt + 1} attempts") from error
            asked = 0.0 if response is None else _retry_after(response)
            if asked > params.timeout:
                raise MirrorError(f"{reason}, to be tried again in {asked:g} s") from error
            delay = max(params.backoff * 2**attempt, asked)
            if time.monotonic() + delay > deadline:
                raise late from error
            print(f"{url}: {reason}, again in {delay:g} s", file=sys.stderr)
            time.sleep(delay)


def receive(url: str, target: Path, timeout: float, deadline: float) -> str:
    """Write what a server sends, as it sends it, to `target`, and give its SHA-256.

    Some servers declare a .gz file as gzip in Content-Encoding: a client must not unpack that.
    Raises errors of requests and urllib3, and TimeoutError after `deadline`.
    """
    digest = hashlib.sha256()
    as_it_is = {"Accept-Encoding": "identity"}
    with (
        requests.get(url, headers=as_it_is, stream=True, timeout=timeout) as response,
        target.open("wb") as file,
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


def _before(deadline: float, work: Callable[[], str]) -> str:
    """What `work` gives; TimeoutError if that is not there in time: then its thread is left alone.

    The time-outs of requests are for single reads: a server may send its headers byte by byte.
    """
    result: Future[str] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while time.monotonic() < deadline:
        if wait([result], timeout=0.5).done:  # in between, signals are handled
            return result.result()
    raise TimeoutError


def _retry_after(response: requests.Response) -> float:
    """The seconds that a server asks to wait, 0 unless it says so in a way that is understood."""
    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except urllib3.exceptions.InvalidHeader:
        return 0.0
