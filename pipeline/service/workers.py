"""Threads for work that would block the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.inference.providers import available_cores
from pipeline.service.errors import BUSY

T = TypeVar("T")


class Workers:
    """One thread per core. Requests wait for a free thread in order of arrival."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long a request may wait for a thread."""
        self._seconds = seconds
        self._free = asyncio.Semaphore(available_cores())
        self._threads = anyio.CapacityLimiter(available_cores())

    async def run(self, request: Request, task: Callable[[], T]) -> T:
        """Run a task for a request whose body has been read, unless the client has disconnected.

        HTTPException 503 if no thread becomes free in time, 400 if the task raises a ValueError.
        """
        waited = self._free.locked()
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise HTTPException(503, *BUSY) from error
        try:
            if waited and await request.is_disconnected():
                raise HTTPException(499, "the client disconnected")
            return await run_sync(task, limiter=self._threads)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            self._free.release()
