"""The route that describes the trial of a challenger."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from pipeline.service.challenger.report import TrialStatus, status
from pipeline.service.descriptions import NO_CHALLENGER, OPERATION, PROTECTED, operation_id
from pipeline.service.state import ServiceState

router = APIRouter(tags=[OPERATION], generate_unique_id_function=operation_id)


@router.get(
    "/challenger",
    summary="Describe the trial of the challenger",
    response_model=TrialStatus,
    responses=PROTECTED | NO_CHALLENGER,
)
async def describe_trial(service: ServiceState) -> TrialStatus:
    """Returns the state of the trial, its counts in all processes of the service and, once it has
    ended, the reason."""
    if service.link is None:
        raise HTTPException(404, "this service has no challenger")
    return status(service.link)
