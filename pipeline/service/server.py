"""python -m pipeline serve: the HTTP service and its page."""

import errno
import logging
import resource
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp

from pipeline.core.errors import UserError
from pipeline.core.variables import SERVE_TOKEN, SERVE_TOKEN_FILE
from pipeline.core.workspace import Workspace
from pipeline.registry import open_classifier
from pipeline.service.app import create_app
from pipeline.service.connections import Connection
from pipeline.service.limits import Limits
from pipeline.service.pool import ModelPool

LOG = logging.getLogger(__name__)
GRACE = 10  # seconds for requests that are under way when the service is stopped
OTHER_FILES = 200  # open at a time, beside connections: the model, figures
MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # one of two addresses may, such as IPv6
UNUSABLE = {
    errno.EADDRINUSE: "port {port} of {host} is in use; --port 0 takes a free one",
    errno.EADDRNOTAVAIL: "{host} is no address of this machine; 0.0.0.0 is every one of them",
    errno.EACCES: "port {port} of {host} requires more rights; --port 8000 does not",
}


def run(
    model: str | None, host: str, port: int, *, json_log: bool, workspace: Workspace | None
) -> None:
    """Serve until SIGINT or SIGTERM, which let requests that are under way end.

    `model` is a file or models:/NAME@ALIAS; none: the released one. The log is lines of JSON, or
    of text for a person. The page shows the reports of the workspace, whose MLflow is asked for
    a model. UserError if the service cannot start.
    """
    _log(json_log=json_log)
    if not host.strip():
        raise UserError(
            "--host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 is every address"
        )
    if model is not None and not model.strip():
        raise UserError("--model is empty; without the option it is the released model")
    token = read_token()
    pool = ModelPool(open_classifier(model, workspace, threads=1))
    app = create_app(pool, limits := _limits(), token, workspace)
    listeners = listen(host, port)
    if token is None and host not in ("127.0.0.1", "localhost", "::1"):
        LOG.warning(
            "whoever reaches %s may use the service: neither %s nor %s is set",
            *(host, SERVE_TOKEN.name, SERVE_TOKEN_FILE.name),
        )
    address = _address(host, listeners[0].getsockname()[1])
    LOG.info("listening on %s", address)
    if not json_log:
        print(f"{address} - Ctrl-C stops it", file=sys.stderr, flush=True)
    make_server(app, limits).run(sockets=listeners)


def make_server(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    """The server of the app, whose connections keep to the limits."""
    connection: Any = partial(Connection, limits=limits, waiting={})
    config = uvicorn.Config(
        app,
        http=connection,  # of h11, which limits the head of a request; httptools does not
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)


def read_token() -> str | None:
    """The token that the environment names, by itself or by its file. UserError if it is bad."""
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
        raise UserError(f"{name} is empty, or has characters other than those of printable ASCII")
    return token


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of the host, on one port (0: a free one).

    UserError if there is no such host or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"{host!r} is no known host; name an address, such as 127.0.0.1") from error
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
                failure.errno or 0, f"port {{port}} of {{host}}: {failure.strerror}"
            )
            raise UserError(reason.format(host=host, port=port)) from failure
    return listeners


def _address(host: str, port: int) -> str:
    """Where a browser on this machine finds the page."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (not bound here)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _limits() -> Limits:
    """The limits, with no more connections than this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Limits.connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Limits()
    return Limits(connections=max(1, min(Limits.connections, soft - OTHER_FILES)))


def _log(*, json_log: bool) -> None:
    handler = logging.StreamHandler()
    if json_log:
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                reserved_attrs=[*RESERVED_ATTRS, "color_message"],
            )
        )
    else:
        handler.setFormatter(logging.Formatter("{levelname}: {message}", style="{"))
    level = logging.INFO if json_log else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
