"""The routes for the people whose pictures are in the journal: label them, or remove them."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from pipeline.service.descriptions import (
    FEEDBACK_BODY,
    JOURNAL,
    LABEL_ERRORS,
    REMOVAL_ERRORS,
    operation_id,
)
from pipeline.service.journal_messages import Feedback, Recorded
from pipeline.service.state import ServiceState, address_of, require_journal

router = APIRouter(tags=[JOURNAL], generate_unique_id_function=operation_id)


@router.post(
    "/feedback",
    summary="Say what an image shows",
    response_model=Recorded,
    responses=LABEL_ERRORS,
    openapi_extra=FEEDBACK_BODY,
)
async def give_feedback(request: Request, service: ServiceState) -> Recorded:
    """Takes the id in an answer, and the right label. The latest label of a client counts."""
    journal = require_journal(service)
    given = await service.bodies.parse(request, Feedback)
    journal.vote(given.id, str(given.label), address_of(request))
    return Recorded(id=given.id, label=str(given.label))


@router.delete(
    "/journal/{id}",
    summary="Remove an image from the journal",
    status_code=204,
    response_class=Response,
    responses=REMOVAL_ERRORS,
)
async def remove_entry(
    entry: Annotated[str, Path(alias="id", description="The id in the answer.")],
    request: Request,
    service: ServiceState,
) -> Response:
    """Removes the image, its answer and its labels. Only the client that got the answer, and
    reviewers, know the id."""
    require_journal(service).remove(entry, address_of(request))
    return Response(status_code=204)
