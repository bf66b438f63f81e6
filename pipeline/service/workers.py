"""Threads for the work that would block the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.inference.session import available_cores
from pipeline.service.errors import BUSY

T = TypeVar("T")


class Workers:
    """A thread for each core. Requests wait for a free one in the order in which they come."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long a request waits for a thread at most."""
        self._seconds = seconds
        self._free = asyncio.Semaphore(available_cores())
        self._threads = anyio.CapacityLimiter(available_cores())

    async def run(self, request: Request, task: Callable[[], T]) -> T:
        """Run a task of a request whose body has been read, unless its client has left.

        HTTPException 503 if no thread is free in time, 400 for a ValueError of the task.
        """
        waited = self._free.locked()
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise HTTPException(503, *BUSY) from error
        try:
            if waited and await request.is_disconnected():
                raise HTTPException(499, "the client left")
            return await run_sync(task, limiter=self._threads)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            self._free.release()
