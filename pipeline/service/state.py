"""The state that all routes share."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, NamedTuple

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Predictions
from pipeline.journal.keeping import Source
from pipeline.pictures.images import Images
from pipeline.service.bodies import Bodies
from pipeline.service.challenger.link import Link
from pipeline.service.following import Follower
from pipeline.service.limits import Limits
from pipeline.service.metrics import Metrics
from pipeline.service.middleware.access_log import MODEL
from pipeline.service.middleware.request_ids import REQUEST_ID
from pipeline.service.orders import Orders
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.threads import Threads

if TYPE_CHECKING:  # it requires pyarrow, which a service without a journal does not load
    from pipeline.journal.columns import Ticket
    from pipeline.service.journaling import Journal


class Computed(NamedTuple):
    """The predictions for the images of a request, and how long they took."""

    predictions: Predictions
    seconds: float


@dataclass(frozen=True)
class Service:
    """The models, limits, metrics and threads of one service."""

    pool: ModelPool
    limits: Limits
    metrics: Metrics
    bodies: Bodies
    threads: Threads
    orders: Orders
    workspace: Workspace | None  # has the reports
    follower: Follower | None = None  # None: the service keeps its model
    webhook_secret: str | None = field(default=None, repr=False)
    link: Link | None = None  # None: no challenger is compared with the champion
    journal: "Journal | None" = None  # None: nothing is kept

    def predict(self, model: ServedModel, images: Images, *, count: bool = True) -> Computed:
        """The model's predictions for the images of a request, [N, H, W].

        `count`: whether to record them in the metrics. ValueError if there are too many images.
        """
        if len(images) > self.limits.images:
            limit = self.limits.images
            raise ValueError(f"a request may have at most {limit:,} images, not {len(images):,}")
        begun = time.perf_counter()
        predictions = model.classifier.predict(images)
        seconds = time.perf_counter() - begun
        if count:
            self.metrics.record_predictions(model.version, predictions)
        return Computed(predictions, seconds)

    def takes_canary(self, request: Request, model: ServedModel) -> bool:
        """Whether the challenger is to answer a request to `model`: ask it with `challenge`."""
        return (
            self.link is not None
            and model is self.pool.champion
            and "version" not in request.path_params
            and self.link.takes(model, request.scope[REQUEST_ID])
        )

    async def challenge(
        self, request: Request, model: ServedModel, images: Images, computed: Computed
    ) -> tuple[ServedModel, Computed]:
        """The challenger and its predictions or, if it has none in time, what is given.

        `computed`: by `model` for the images [N, H, W] of the request, and not yet recorded.
        """
        assert self.link is not None
        answer = await self.link.ask(images, *computed)
        if answer is not None:
            assert self.link.model is not None  # a canary has one
            model = note_model(request, self.link.model)
            computed = Computed(answer, computed.seconds)
        self.metrics.record_predictions(model.version, computed.predictions)
        return model, computed

    def ticket(
        self, request: Request, source: Source, images: int | None = None
    ) -> "Ticket | None":
        """A ticket for the journal, if it is to keep the images of a request.

        `images`: how many, if it is known.
        """
        if self.journal is None:
            return None
        return self.journal.begin(source, address_of(request), images)

    async def after_answer(
        self,
        model: ServedModel,
        images: Images,
        computed: Computed,
        ticket: "Ticket | None" = None,
    ) -> None:
        """Routes call this once the client has the answer of `model` to `images`, [N, H, W].

        `ticket`: for the journal.
        """
        link = self.link if model is self.pool.champion else None
        if self.journal is not None and ticket is not None:
            if link is None:
                self.journal.record(ticket, model, images, *computed)
            else:
                self.journal.spawn(self._compare_and_record(link, model, images, computed, ticket))
        elif link is not None:
            link.compare(model, images, *computed)

    async def _compare_and_record(
        self, link: Link, model: ServedModel, images: Images, computed: Computed, ticket: "Ticket"
    ) -> None:
        assert self.journal is not None
        other = await link.compare_and_wait(model, images, *computed)
        named = link.challenger
        challenger = None if other is None or named is None else (named.version, other)
        self.journal.record(ticket, model, images, *computed, challenger)


def address_of(request: Request) -> str:
    """The address of the client, as the server or a proxy on this machine knows it."""
    client: tuple[str, int] | None = request.scope.get("client")
    return client[0] if client else ""


def require_journal(service: Service) -> "Journal":
    """The journal of the service. HTTPException 404 if it keeps none."""
    if service.journal is None:
        raise HTTPException(404, "this service keeps no journal")
    return service.journal


async def get_service(request: Request) -> Service:
    """The service that a request has reached."""
    service: Service = request.app.state.service
    return service


ServiceState = Annotated[Service, Depends(get_service)]


def note_model(request: Request, model: ServedModel) -> ServedModel:
    """Note for the access log which model answers a request; returns the model."""
    request.scope[MODEL] = model
    return model


async def find_model(name: str, request: Request, service: ServiceState) -> ServedModel:
    """The model with this name, and the version in the path if there is one."""
    return note_model(request, service.pool.get(name, request.path_params.get("version")))


NamedModel = Annotated[ServedModel, Depends(find_model)]
