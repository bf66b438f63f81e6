"""The interface for reviewers, who label images of the journal; `page` has their page."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.requests import Request

from pipeline.service.descriptions import (
    JOURNAL,
    QUEUE_ERRORS,
    REVIEW_BODY,
    REVIEW_ERRORS,
    operation_id,
)
from pipeline.service.journal_messages import Recorded, ReviewedLabel, ReviewItem, ReviewQueue
from pipeline.service.state import ServiceState, require_journal

MOST = 100  # images in a response
router = APIRouter(tags=[JOURNAL], generate_unique_id_function=operation_id)


@router.get("/review/queue", summary="Get images to label", responses=QUEUE_ERRORS)
async def review_queue(
    service: ServiceState,
    count: Annotated[int, Query(ge=1, le=MOST, description="How many.")] = 20,
    skip: Annotated[
        list[str], Query(max_length=1000, description="Ids to leave out: they were just labelled.")
    ] = [],  # noqa: B006 (a list in the query)
) -> ReviewQueue:
    """Returns images that no reviewer has labelled. The reasons for which they are in the queue
    take turns; for each, the most doubtful come first."""
    journal = require_journal(service)

    def find() -> ReviewQueue:
        queue = journal.queue().without(skip)
        items = queue.items[:count]
        images = journal.images(items)
        found = [
            ReviewItem(id=item.id, image=images[item.id].tolist(), reason=item.reason)
            for item in items
            if item.id in images
        ]
        return ReviewQueue(items=found, waiting=queue.counts())

    return await run_sync(find)


@router.post(
    "/review/labels",
    summary="Label an image",
    response_model=Recorded,
    responses=REVIEW_ERRORS,
    openapi_extra=REVIEW_BODY,
)
async def review_label(request: Request, service: ServiceState) -> Recorded:
    """Takes a reviewer's label, which counts more than those of users. The latest label of a
    reviewer counts."""
    journal = require_journal(service)
    given = await service.bodies.parse(request, ReviewedLabel)
    journal.review_label(given.id, str(given.label), given.name)
    return Recorded(id=given.id, label=str(given.label))
