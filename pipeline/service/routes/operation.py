"""What operators read."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from pipeline.service.documentation import OPERATION
from pipeline.service.state import ServiceState

router = APIRouter(tags=[OPERATION])


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(service: ServiceState) -> Response:
    """Requests, predictions and drift."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
