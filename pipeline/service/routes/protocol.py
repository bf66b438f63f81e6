"""The routes of the Open Inference Protocol; `service/protocol` implements the protocol itself."""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from pipeline.service import protocol
from pipeline.service.descriptions import (
    INFER_BODY,
    INFER_RESPONSES,
    INTERNAL_ERROR,
    NOT_FOUND,
    PROTECTED,
    PROTOCOL,
    operation_id,
)
from pipeline.service.journal_messages import JOURNAL_ID
from pipeline.service.messages import (
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from pipeline.service.pool import ServedModel
from pipeline.service.state import (
    Computed,
    NamedModel,
    Service,
    ServiceState,
    find_model,
    get_service,
)

if TYPE_CHECKING:
    from pipeline.journal.columns import Ticket

MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"
COST = 24  # bytes of memory for each byte of a request: a number in a list, for two bytes of JSON
router = APIRouter(tags=[PROTOCOL], generate_unique_id_function=operation_id)


class PlainRoute(APIRoute):
    """A route whose function takes the request alone.

    FastAPI describes it, but does not spend time on its parameters.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = request_response(endpoint)


async def infer(request: Request) -> Response:
    """Returns logits, probabilities and novelty of images, as JSON or as bytes after the JSON."""
    service = await get_service(request)
    model = await find_model(request.path_params["name"], request, service)
    length = request.headers.get(protocol.HEADER_LENGTH)
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise HTTPException(400, f"{protocol.HEADER_LENGTH} is not a number")
    ticket = service.ticket(request, "protocol")
    async with service.bodies.read(request) as body:
        cost, run = COST * len(body), service.threads.run
        canary = service.takes_canary(request, model)
        task = partial(_compute, service, model, body, length, count=not canary)
        if not canary:
            return await run(request, lambda: _respond(service, model, ticket, *task()), cost)
        read, computed = await run(request, task, cost)
        model, computed = await service.challenge(request, model, read.images, computed)
        return await run(request, partial(_respond, service, model, ticket, read, computed), cost)


def _compute(
    service: Service, model: ServedModel, body: bytes, header_length: str | None, *, count: bool
) -> tuple[protocol.Request, Computed]:
    length = None if header_length is None else int(header_length)
    request = protocol.read_request(body, length, model.signature.form)
    return request, service.predict(model, request.images, count=count)


def _respond(
    service: Service,
    model: ServedModel,
    ticket: "Ticket | None",
    request: protocol.Request,
    computed: Computed,
) -> Response:
    headers, identifier = {}, request.id
    if ticket is not None:
        headers[JOURNAL_ID] = ticket.first
        if identifier is None:
            identifier = ticket.first
    content, length = protocol.write_response(request, identifier, model, computed.predictions)
    task = BackgroundTask(service.after_answer, model, request.images, computed, ticket)
    kind = "application/json" if length is None else "application/octet-stream"
    if length is not None:
        headers[protocol.HEADER_LENGTH] = str(length)
    return Response(content, headers=headers, media_type=kind, background=task)


router.routes += [
    PlainRoute(
        f"{MODEL}/infer",
        infer,
        methods=["POST"],
        summary="Classify images",
        response_model=InferResponse,
        responses=INFER_RESPONSES,
        openapi_extra=INFER_BODY,
        tags=[PROTOCOL],
        generate_unique_id_function=operation_id,
    ),
    PlainRoute(f"{VERSION}/infer", infer, methods=["POST"], include_in_schema=False),
]


@router.get(
    "/v2", summary="Describe the server", response_model=ServerMetadata, responses=INTERNAL_ERROR
)
async def describe_server(service: ServiceState) -> dict[str, Any]:
    """Returns its name, the version of its interface and the protocol extensions it supports."""
    return protocol.server_metadata(service.pool.champion)


@router.get("/v2/health/live", summary="Check that the server is alive", responses=INTERNAL_ERROR)
async def server_live() -> ServerLive:
    """Responds as long as the server runs."""
    return ServerLive(live=True)


@router.get("/v2/health/ready", summary="Check that the server is ready", responses=INTERNAL_ERROR)
async def server_ready() -> ServerReady:
    """The server loads its model before it listens, so it is ready as soon as it responds."""
    return ServerReady(ready=True)


@router.get(
    MODEL,
    summary="Describe a model",
    response_model=ModelMetadata,
    responses=PROTECTED | NOT_FOUND,
)
@router.get(VERSION, include_in_schema=False)
async def describe_model(model: NamedModel, service: ServiceState) -> dict[str, Any]:
    """Returns its versions, inputs, outputs and classes, and the SHA-256 of its file."""
    return protocol.metadata(model, service.pool.roles)


@router.get(
    f"{MODEL}/ready", summary="Check that a model is ready", responses=PROTECTED | NOT_FOUND
)
@router.get(f"{VERSION}/ready", include_in_schema=False)
async def model_ready(model: NamedModel) -> ModelReady:
    """A model is ready if the server has it."""
    return ModelReady(name=model.name, ready=True)
