"""/predict classifies the picture file in the body."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from pipeline.inference.fields import answer_fields, refusal_fields
from pipeline.pictures.decoding import TooManyPixels
from pipeline.pictures.images import Images, in_form
from pipeline.pictures.marks import NotOneCharacter
from pipeline.service.descriptions import BODY_ERRORS, PICTURE_BODY, PICTURES, Answer, operation_id
from pipeline.service.journal_messages import JOURNAL_ID
from pipeline.service.pool import ServedModel
from pipeline.service.state import Computed, Service, ServiceState, note_model
from pipeline.service.uploads import read_picture

if TYPE_CHECKING:
    from pipeline.journal.columns import Ticket

MEDIUM = 2**20  # pixels: few pictures have more
PIXEL, BYTE = 32, 4  # bytes of memory for each pixel of a picture and for each byte of its file
router = APIRouter(generate_unique_id_function=operation_id)


class Options(BaseModel):
    """The query. An unknown option is an error: it may be misspelt."""

    model_config = ConfigDict(extra="forbid")
    normalise: Annotated[
        bool, Field(description="Convert the picture to the model's form first.")
    ] = True
    image: Annotated[bool, Field(description="Return the model's input, too.")] = True
    preview: Annotated[bool, Field(description="Leave the picture out of the metrics.")] = False
    explain: Annotated[bool, Field(description="Return an occlusion map, too.")] = False
    source: Annotated[
        Literal["predict", "page"], Field(description="Who asks, for the journal.")
    ] = "predict"


@router.post(
    "/predict",
    tags=[PICTURES],
    summary="Classify a picture",
    response_model=Answer,
    responses=BODY_ERRORS,
    openapi_extra=PICTURE_BODY,
)
async def predict(
    request: Request, options: Annotated[Options, Query()], service: ServiceState
) -> Response:
    """Takes a picture file (PNG, JPEG, BMP, TIFF, WebP or GIF) as the body, as
    `curl --data-binary @FILE` sends it, and returns what it shows and the probability of each
    label. Without ink, or with several characters, a picture is not classified, and most fields are
    null."""
    kind = request.headers.get("content-type", "")
    model = note_model(request, service.pool.champion)
    ticket = None if options.preview else service.ticket(request, options.source, images=1)
    plain = not (options.preview or options.explain)  # which only the champion answers
    canary = plain and service.takes_canary(request, model)
    async with service.bodies.read(request) as content:
        for pixels in (MEDIUM, service.limits.pixels):
            task = partial(
                _classify,
                *(service, model, content, kind, options, pixels, ticket),
                respond=not canary,
            )
            size = PIXEL * pixels + BYTE * len(content)
            found = await service.threads.run(request, task, size)
            if found is not None:
                break
    assert found is not None
    if isinstance(found, Response):
        return found
    model, computed = await service.challenge(request, model, *found)
    return _respond(service, model, options, found[0], computed, ticket)


def _classify(
    service: Service,
    model: ServedModel,
    content: bytes,
    content_type: str,
    options: Options,
    max_pixels: int,
    ticket: "Ticket | None",
    *,
    respond: bool,
) -> Response | tuple[Images, Computed] | None:
    """The response; None if the picture has more pixels, but within the limit.

    Unless `respond`, the model's input and its predictions, which are then not recorded.
    """
    try:
        picture = read_picture(content, content_type, max_pixels)
    except TooManyPixels:
        if max_pixels < service.limits.pixels:
            return None
        raise
    try:
        images = in_form(
            [picture], model.signature.form, normalise=options.normalise, option="normalise=true"
        )
    except NotOneCharacter as refusal:
        if not options.preview:
            service.metrics.record_refusal(model.version, refusal.verdict)
        answer = refusal_fields(model.signature, refusal.verdict)
        return _json(answer | {"reason": str(refusal), "version": model.version})
    computed = service.predict(model, images, count=respond and not options.preview)
    if not respond:
        return images, computed
    return _respond(service, model, options, images, computed, ticket)


def _respond(
    service: Service,
    model: ServedModel,
    options: Options,
    images: Images,
    computed: Computed,
    ticket: "Ticket | None",
) -> Response:
    """The response to a picture that was classified."""
    answer = answer_fields(model.signature, computed.predictions, 0) | {"version": model.version}
    if options.image:
        answer["image"] = images[0]
    if options.explain:
        answer["explanation"] = model.classifier.explain(images)[0].round(3)
    if options.preview:
        return _json(answer)
    task = BackgroundTask(service.after_answer, model, images, computed, ticket)
    if ticket is None:
        return _json(answer, task)
    response = _json(answer | {"id": ticket.first}, task)
    response.headers[JOURNAL_ID] = ticket.first
    return response


def _json(answer: dict[str, Any], task: BackgroundTask | None = None) -> Response:
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json", background=task)
