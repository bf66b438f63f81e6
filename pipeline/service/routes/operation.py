"""The route for monitoring the service."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from pipeline.service.descriptions import METRICS_RESPONSES, OPERATION, operation_id
from pipeline.service.state import ServiceState

router = APIRouter(tags=[OPERATION], generate_unique_id_function=operation_id)


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses=METRICS_RESPONSES,
)
async def metrics(service: ServiceState) -> Response:
    """Returns counts and durations of requests and predictions, for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
