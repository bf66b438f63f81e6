"""The routes of Triton's model repository extension: which models there are, load, unload.

Source: https://github.com/triton-inference-server/server
(docs/protocol/extension_model_repository.md).
"""

import asyncio
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.core.errors import UserError
from pipeline.service.descriptions import (
    ADMIN,
    BODY_ERRORS,
    INDEX_BODY,
    LOAD_BODY,
    NOT_FOUND,
    REPOSITORY,
    operation_id,
)
from pipeline.service.errors import BUSY
from pipeline.service.following import Follower
from pipeline.service.pool import LOADED
from pipeline.service.repository_messages import IndexRequest, LoadRequest, ModelState
from pipeline.service.state import Service, ServiceState

FOLLOW_SECONDS = 10  # to wait until the other processes have followed an order
POLL = 0.02  # seconds between looks at the other processes
router = APIRouter(tags=[REPOSITORY], generate_unique_id_function=operation_id)


@router.post(
    "/v2/repository/index",
    summary="List the models",
    response_model=list[ModelState],
    responses=BODY_ERRORS,
    openapi_extra=INDEX_BODY,
)
async def repository_index(request: Request, service: ServiceState) -> list[dict[str, Any]]:
    """Returns the models in memory with their roles and, unless `ready` is true, the releases of
    the workspace that are not."""
    ready = (await service.bodies.parse(request, IndexRequest)).ready
    return await run_sync(partial(_index, service, ready=ready))


@router.post(
    "/v2/repository/models/{name}/load",
    summary="Load a release, or look for a new champion",
    response_model=list[ModelState],
    responses=BODY_ERRORS | ADMIN | NOT_FOUND,
    openapi_extra=LOAD_BODY,
)
async def load_model(name: str, request: Request, service: ServiceState) -> Any:
    """With a release, verifies it and loads it under its version; the champion stays. Without one,
    looks for a new champion at once. Returns the models in memory when all processes of the service
    have them."""
    follower, numbers = await _prepare(name, request, service)
    for number in numbers or [None]:
        await _act(service, partial(_load, follower, number))
    return JSONResponse(_index(service, ready=True))


@router.post(
    "/v2/repository/models/{name}/unload",
    summary="Unload a release",
    response_model=list[ModelState],
    responses=BODY_ERRORS | ADMIN | NOT_FOUND,
    openapi_extra=LOAD_BODY,
)
async def unload_model(name: str, request: Request, service: ServiceState) -> Any:
    """Unloads a release that was loaded on demand or, without a release, all of them."""
    follower, numbers = await _prepare(name, request, service)
    await _act(service, partial(_unload, service, follower, set(numbers)))
    return JSONResponse(_index(service, ready=True))


def _load(follower: Follower, number: int | None) -> int:
    return follower.look() if number is None else follower.load(follower.find(number))


def _unload(service: Service, follower: Follower, numbers: set[int]) -> int:
    roles = {model.release: role for role, model in service.pool.roles.models()}
    for number in numbers:
        if roles.get(number) != LOADED:
            role = f"is the {roles[number]}" if number in roles else "is not loaded"
            raise ValueError(f"release {number} {role}: only what was loaded here can be unloaded")
    loaded = {model.release for model in service.pool.roles.loaded if model.release is not None}
    return follower.unload(numbers or loaded)


async def _prepare(
    name: str, request: Request, service: Service
) -> tuple[Follower, tuple[int, ...]]:
    """What loads models, and the numbers of the releases in the request."""
    service.pool.get(name)
    numbers = (await service.bodies.parse(request, LoadRequest)).releases
    if service.follower is None:
        raise HTTPException(400, "this service serves one model: it was started with a file")
    return service.follower, numbers


async def _act(service: Service, act: Any) -> None:
    """Give an order, and wait until all processes have followed it."""
    try:
        number = await run_sync(act)
    except (UserError, ValueError) as error:
        raise HTTPException(400, str(error)) from error
    try:
        async with asyncio.timeout(FOLLOW_SECONDS):
            while not service.orders.done_by_all(number):
                await asyncio.sleep(POLL)
    except TimeoutError as error:
        raise HTTPException(503, *BUSY) from error


def _index(service: Service, *, ready: bool) -> list[dict[str, Any]]:
    roles, follower = service.pool.roles, service.follower
    found = [
        ModelState(
            name=model.name, version=model.version, state="READY", role=role, release=model.release
        )
        for role, model in roles.models()
    ]
    if not ready and follower is not None:
        versions = {model.version for _, model in roles.models()}
        found += [
            ModelState(
                name=release.name,
                version=release.version,
                state="UNAVAILABLE",
                reason=follower.refused.get(release.number, ""),
                release=release.number,
            )
            for release in follower.releases()
            if release.version not in versions
        ]
    return [state.model_dump() for state in found]
