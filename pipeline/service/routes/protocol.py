"""The routes of the Open Inference Protocol. What the protocol is, is in `service/protocol`."""

import re
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline import DISTRIBUTION
from pipeline.service import protocol
from pipeline.service.bodies import Body
from pipeline.service.documentation import INFER_ANSWERS, INFER_BODY, NOT_FOUND, PROTOCOL
from pipeline.service.messages import InferResponse
from pipeline.service.pool import ServedModel
from pipeline.service.state import NamedModel, Service, ServiceState

MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"
router = APIRouter(tags=[PROTOCOL])


@router.get("/v2", summary="Describe the service")
async def server(service: ServiceState) -> dict[str, Any]:
    """Its name, the version of its interface and the extensions that it supports."""
    version = service.pool.default.signature.interface
    return {"name": DISTRIBUTION, "version": version, "extensions": ["binary_tensor_data"]}


@router.get("/v2/health/live", summary="Is the service alive?")
async def live() -> dict[str, bool]:
    """It runs."""
    return {"live": True}


@router.get("/v2/health/ready", summary="Is the service ready?")
async def ready() -> dict[str, bool]:
    """The model is loaded before the service listens, so it is ready as soon as it answers."""
    return {"ready": True}


@router.get(MODEL, summary="Describe the model", responses=NOT_FOUND)
@router.get(VERSION, include_in_schema=False)
async def describe_model(model: NamedModel) -> dict[str, Any]:
    """Its inputs and outputs, its classes, and the SHA-256 of its file."""
    return protocol.metadata(model)


@router.get(f"{MODEL}/ready", summary="Is the model ready?", responses=NOT_FOUND)
@router.get(f"{VERSION}/ready", include_in_schema=False)
async def model_ready(model: NamedModel) -> dict[str, Any]:
    """The same of the model."""
    return {"name": model.name, "ready": True}


@router.post(
    f"{MODEL}/infer",
    summary="Read images",
    response_model=InferResponse,
    responses=INFER_ANSWERS,
    openapi_extra=INFER_BODY,
)
@router.post(f"{VERSION}/infer", include_in_schema=False)
async def infer(request: Request, model: NamedModel, service: ServiceState) -> Response:
    """Logits and probabilities of images, as JSON or as bytes behind it."""
    length = request.headers.get(protocol.HEADER_LENGTH)
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise HTTPException(400, f"{protocol.HEADER_LENGTH} is not a number")
    async with service.bodies.read(request) as body:
        task = partial(_infer, service, model, body, None if length is None else int(length))
        return await service.workers.run(request, task)


def _infer(service: Service, model: ServedModel, body: Body, header_length: int | None) -> Response:
    request = protocol.read_request(body.unpacked(), header_length, model.signature.form)
    predictions = service.predict(model, request.images)
    outputs = {"logits": predictions.logits, "probabilities": predictions.probabilities}
    content, length = protocol.write_response(request, model, outputs)
    if length is None:
        return Response(content, media_type="application/json")
    headers = {protocol.HEADER_LENGTH: str(length)}
    return Response(content, headers=headers, media_type="application/octet-stream")
