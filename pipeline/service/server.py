"""The server: sockets, log, token and limits of the HTTP service."""

import errno
import logging
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pipeline.core.errors import UserError
from pipeline.core.variables import SERVE_TOKEN, SERVE_TOKEN_FILE
from pipeline.core.workspace import Workspace
from pipeline.registry import open_classifier
from pipeline.service import log
from pipeline.service.app import create_app
from pipeline.service.connections import Connection
from pipeline.service.limits import Limits
from pipeline.service.pool import ModelPool

LOG = logging.getLogger(__name__)
GRACE = 10  # seconds for requests in progress to finish when the service stops
OTHER_FILES = 200  # open files other than connections: the model, figures
MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # tolerated if another address works
UNUSABLE = {
    errno.EADDRINUSE: "port {port} on {host} is in use; --port 0 picks a free one",
    errno.EADDRNOTAVAIL: "{host} is not an address of this machine; 0.0.0.0 stands for all of them",
    errno.EACCES: "port {port} on {host} requires more privileges; --port 8000 does not",
}


class Server(uvicorn.Server):
    """A server that has written its log when it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals during the block; afterwards, those received take effect."""
        with super().capture_signals():
            yield
            log.flush()


def run(
    model: str | None, host: str, port: int, *, json_log: bool, workspace: Workspace | None
) -> None:
    """Serve until SIGINT or SIGTERM, then let requests in progress finish.

    `model` is a file, models:/NAME@ALIAS, or None for the released model. `workspace` provides the
    reports that the page shows, and the MLflow store. UserError if the service cannot start.
    """
    log.set_up(json_log=json_log)
    if not host.strip():
        raise UserError(
            "--host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 is all its addresses"
        )
    if model is not None and not model.strip():
        raise UserError("--model is empty; without it, the service uses the released model")
    token = read_token()
    pool = ModelPool(open_classifier(model, workspace, threads=1))
    app = create_app(pool, limits := _limits(), token, workspace)
    listeners = listen(host, port)
    if token is None and host not in ("127.0.0.1", "localhost", "::1"):
        LOG.warning(
            "anyone who can reach %s can use the service: set %s or %s to require a token",
            *(host, SERVE_TOKEN.name, SERVE_TOKEN_FILE.name),
        )
    address = _address(host, listeners[0].getsockname()[1])
    LOG.info("listening on %s", address)
    if not json_log:
        print(f"{address} - press Ctrl-C to stop", file=sys.stderr, flush=True)
    make_server(app, limits).run(sockets=listeners)


def make_server(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    """A server for the app, with these limits on its connections."""
    connection: Any = partial(Connection, limits=limits, waiting={})
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return Server(config)


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


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of the host, on one port (0: a free one).

    UserError if the host is unknown or the port is not available.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"unknown host {host!r}; use an address such as 127.0.0.1") from error
    listeners: list[socket.socket] = []
    failures: list[OSError] = []
    for family, address in dict.fromkeys((family, address) for family, *_, address in found):
        if listeners:
            port = listeners[0].getsockname()[1]
        try:
            listeners.append(
                socket.create_server((address[0], port, *address[2:]), family=family, backlog=2048)
            )
        except OSError as error:
            failures.append(error)
    for failure in failures:
        if not listeners or failure.errno not in MISSING:
            for listener in listeners:
                listener.close()
            reason = UNUSABLE.get(
                failure.errno or 0, f"port {{port}} on {{host}}: {failure.strerror}"
            )
            raise UserError(reason.format(host=host, port=port)) from failure
    return listeners


def _address(host: str, port: int) -> str:
    """The page's URL for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (not bound here)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _limits() -> Limits:
    """The limits, with no more connections than this process may have open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Limits.connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS enforces a lower limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Limits()
    return Limits(connections=max(1, min(Limits.connections, soft - OTHER_FILES)))
