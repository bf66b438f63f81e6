"""The server: sockets, log, token and limits of the HTTP service."""

import gc
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pipeline.core.errors import UserError
from pipeline.core.variables import SERVE_TOKEN, SERVE_TOKEN_FILE
from pipeline.core.workspace import Workspace
from pipeline.inference.providers import available_cores
from pipeline.journal.keeping import JournalSettings
from pipeline.service import log
from pipeline.service.app import create_app
from pipeline.service.challenger.challenge import Challenge
from pipeline.service.challenger.seats import Seat, seats
from pipeline.service.connections import Connection
from pipeline.service.journal_start import create_folder, keeping
from pipeline.service.limits import Limits, limits_of_process
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.processes import (
    allocate,
    default_count,
    end_with_parent,
    rows_in,
    share,
    start,
    supervise,
    take,
)
from pipeline.service.shared import Place, alone
from pipeline.service.sockets import listen, url
from pipeline.service.sources import Source, open_model
from pipeline.service.state import Service
from pipeline.service.token import Tokens, read_tokens

LOG = logging.getLogger(__name__)
GRACE = 10  # seconds for requests in progress to finish when the service stops


class Server(uvicorn.Server):
    """A server that notes when it serves, and has written its log when it ends."""

    def __init__(self, config: uvicorn.Config, place: Place) -> None:
        super().__init__(config)
        self._place = place

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve."""
        await super().startup(sockets)
        gc.freeze()  # garbage collections pause for less time if they skip all that has been loaded
        self._place.rows["serving"][self._place.process] = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals during the block; afterwards, those received take effect."""
        with super().capture_signals():
            yield
            log.flush()


@dataclass(frozen=True)
class Settings:
    """What all processes of the service need."""

    model: ServedModel
    source: Source | None  # what names the champion
    limits: Limits
    tokens: Tokens
    workspace: Workspace | None
    json_log: bool
    challenger: ServedModel | None = None
    journal: JournalSettings | None = None


def run(
    model: str | None,
    host: str,
    port: int,
    *,
    workers: int | None = None,
    json_log: bool,
    workspace: Workspace | None,
    trust: Sequence[Path] = (),
    follow: float | None = None,
    challenge: Challenge | None = None,
    journal: JournalSettings | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then let requests in progress finish.

    `model`, `workspace`, `trust` and `follow` are those of `sources.open_model`; the workspace also
    provides the reports that the page shows. `journal` keeps images and answers. `workers` is the
    number of processes, by default one per core, or one if the model runs on a GPU. UserError if
    the service cannot start.
    """
    log.set_up(json_log=json_log)
    if not host.strip():
        raise UserError(
            "--host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 is all its addresses"
        )
    if model is not None and not model.strip():
        raise UserError("--model is empty; without it, the service uses the released model")
    tokens = read_tokens()
    if journal is not None:
        create_folder(journal)
    served, source = open_model(model, workspace, tuple(trust), follow)
    # a GPU's memory has room for few copies
    on_cpu = "CUDA" not in served.classifier.providers[0]
    count = workers or (default_count(available_cores()) if on_cpu else 1)
    limits = limits_of_process(count)
    challenger = challenge.open(workspace, tuple(trust), served) if challenge else None
    settings = Settings(
        model=served,
        source=source,
        limits=limits,
        tokens=tokens,
        workspace=workspace,
        json_log=json_log,
        challenger=challenger,
        journal=journal,
    )
    listeners = listen(host, port)
    if tokens.use is None and host not in ("127.0.0.1", "localhost", "::1"):
        LOG.warning(
            "anyone who can reach %s can use the service: set %s or %s to require a token",
            *(host, SERVE_TOKEN.name, SERVE_TOKEN_FILE.name),
        )

    def announce() -> None:
        address = url(host, listeners[0].getsockname()[1])
        LOG.info("listening on %s", address)
        if not json_log:
            print(f"{address} - press Ctrl-C to stop", file=sys.stderr, flush=True)

    with _seats(challenge, settings, count, tuple(trust)) as taken:
        if count == 1:
            announce()
            _serve(settings, alone(), listeners, taken[0])
        else:
            _supervise(settings, listeners, taken, announce)


@contextmanager
def _seats(
    challenge: Challenge | None, settings: Settings, count: int, trust: tuple[Path, ...]
) -> Iterator[Sequence[Seat | None]]:
    """The seat of each process in the trial of a challenger; none if there is no trial."""
    if challenge is None:
        yield [None] * count
        return
    load = challenge.loader(settings.challenger, settings.workspace, trust)
    rules, json_log = challenge.rules, settings.json_log
    with seats(load, settings.model, rules, count, json_log=json_log) as taken:
        yield taken


def _supervise(
    settings: Settings,
    listeners: list[socket.socket],
    taken: Sequence[Seat | None],
    announce: Callable[[], None],
) -> None:
    """Run a process for each seat."""
    memory, shared_settings = allocate(len(taken)), share(settings)

    def start_process(process: int) -> SpawnProcess:
        return start(_serve_in_process, shared_settings, memory, process, listeners, taken[process])

    def close() -> None:
        log.flush()
        for listener in listeners:
            listener.close()

    supervise(start_process, rows_in(memory), GRACE, announce, close)


def _serve(
    settings: Settings, place: Place, listeners: list[socket.socket], seat: Seat | None
) -> None:
    pool, limits = ModelPool(settings.model), settings.limits
    link = seat.link(settings.model, settings.challenger) if seat else None
    app = create_app(
        pool,
        limits,
        settings.tokens,
        settings.workspace,
        place,
        source=settings.source,
        link=link,
        journal=settings.journal,
    )
    service: Service = app.state.service
    if service.follower is not None:
        service.follower.check()  # a process that replaces another starts where that one was
        service.follower.obey()
        service.follower.start()
    with keeping(service.journal):
        make_server(app, limits, place).run(sockets=listeners)


def _serve_in_process(
    shared_settings: Any,
    memory: Any,
    process: int,
    listeners: list[socket.socket],
    seat: Seat | None,
) -> None:
    end_with_parent()
    settings: Settings = take(shared_settings)
    log.set_up(json_log=settings.json_log)
    _serve(settings, Place(rows_in(memory), process), listeners, seat)


def make_server(app: ASGIApp, limits: Limits, place: Place | None = None) -> uvicorn.Server:
    """A server for the app, with these limits on its connections.

    `place`: of this process among those of the service.
    """
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
    return Server(config, place or alone())
