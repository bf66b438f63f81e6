"""Assembles the HTTP service from routes, middleware and their shared state."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from pipeline.core.workspace import Workspace
from pipeline.inference.providers import available_cores
from pipeline.journal.keeping import JournalSettings
from pipeline.service import documentation
from pipeline.service.bodies import Bodies
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.report import TrialMetrics
from pipeline.service.descriptions import TAGS
from pipeline.service.errors import bad_parameter, refused
from pipeline.service.following import Follower
from pipeline.service.journal_metrics import JournalMetrics
from pipeline.service.journal_start import open_journal
from pipeline.service.limits import Limits
from pipeline.service.metrics import Metrics
from pipeline.service.middleware.access_log import AccessLog
from pipeline.service.middleware.admission import Admission
from pipeline.service.middleware.authentication import Authentication
from pipeline.service.middleware.request_ids import RequestIds
from pipeline.service.middleware.responses import InternalErrors, Responses
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool
from pipeline.service.routes import (
    challenger,
    docs,
    feedback,
    hooks,
    operation,
    page,
    predict,
    protocol,
    repository,
    review,
    slashes,
)
from pipeline.service.shared import Place, Tally, alone
from pipeline.service.sources import Source
from pipeline.service.state import Service
from pipeline.service.threads import Threads
from pipeline.service.token import Tokens

MODULES = (
    *(slashes, predict, protocol, repository, feedback, review, operation, challenger),
    *(hooks, page, docs),
)
ROUTERS = [module.router for module in MODULES]


def create_app(
    pool: ModelPool,
    limits: Limits | None = None,
    tokens: Tokens | None = None,
    workspace: Workspace | None = None,
    place: Place | None = None,
    source: Source | None = None,
    link: Link | None = None,
    journal: JournalSettings | None = None,
) -> FastAPI:
    """Create the service for these models.

    With a token for use, every route except `OPEN_ROUTES` requires `Authorization: Bearer TOKEN`;
    routes below `ADMIN_PREFIX` always require the admin token. The page shows the workspace's
    reports. `place`: of this process among those of the service. `source`: what names the champion;
    None: it stays the same. `link`: to the process of a challenger.
    `journal`: keeps the images and answers; UserError if its folder is none.
    """
    tokens = tokens or Tokens()
    limits, place, model = limits or Limits(), place or alone(), pool.champion
    # not include_router, which hides the routes from Authentication and the tests
    routes = [route for router in ROUTERS for route in router.routes]
    paths = [route.path for route in routes if isinstance(route, APIRoute)]
    metrics = Metrics(pool, paths, place.rows["metrics"], place.process)
    if link is not None:
        pool.set_challenger(link.model)
        metrics.registry.register(TrialMetrics(link))
    journal_metrics = JournalMetrics(place.rows["journal"], place.process)
    metrics.registry.register(journal_metrics)
    cores = -(-available_cores() // len(place.rows))
    threads = Threads(limits, cores, Tally(place, "working"))
    in_progress = Tally(place, "requests")
    orders = Orders(place.rows["orders"], place.rows["serving"], place.process)
    middleware = [  # outermost first
        Middleware(RequestIds),
        Middleware(AccessLog, metrics=metrics),
        Middleware(Responses),
        Middleware(Authentication, tokens=tokens),
        Middleware(Admission, in_progress=in_progress, limit=limits.requests),
        Middleware(InternalErrors),
    ]
    app = FastAPI(
        title=model.signature.subject,
        version=model.signature.interface,
        description=documentation.description(model.signature),
        openapi_tags=TAGS,
        servers=[{"url": "./"}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: refused, RequestValidationError: bad_parameter},
        middleware=middleware,
        routes=routes,
    )
    app.state.service = Service(
        pool=pool,
        limits=limits,
        metrics=metrics,
        bodies=Bodies(limits, Tally(place, "buffered"), threads),
        threads=threads,
        orders=orders,
        workspace=workspace,
        follower=Follower(pool, metrics, orders, source) if source else None,
        webhook_secret=tokens.webhook,
        link=link,
        journal=open_journal(journal, model, journal_metrics) if journal else None,
    )
    documentation.complete(app, model, token=tokens.use is not None)
    return app
