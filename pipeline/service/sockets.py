"""The sockets on which the service listens."""

import errno
import socket

from pipeline.core.errors import UserError

MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # tolerated if another address works
UNUSABLE = {
    errno.EADDRINUSE: "port {port} on {host} is in use; --port 0 picks a free one",
    errno.EADDRNOTAVAIL: "{host} is not an address of this machine; 0.0.0.0 stands for all of them",
    errno.EACCES: "port {port} on {host} requires more privileges; --port 8000 does not",
}


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


def url(host: str, port: int) -> str:
    """The page's URL for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (not bound here)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
