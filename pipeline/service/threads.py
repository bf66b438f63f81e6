"""Runs the work of requests: small work at once, larger work in threads, within a memory budget."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.service.errors import BUSY
from pipeline.service.limits import Limits
from pipeline.service.shared import Tally

SMALL = 2**19  # bytes: work of about a millisecond, which a thread would make slower
POLL = 0.01  # seconds between attempts to reserve memory, which other processes release
T = TypeVar("T")


class Threads:
    """Threads of this process. Requests wait for a free one in order of arrival."""

    def __init__(self, limits: Limits, threads: int, working: Tally) -> None:
        """`working`: the bytes that all work of the service may take at present."""
        self._limits, self._working = limits, working
        self._free = asyncio.Semaphore(threads)
        self._threads = anyio.CapacityLimiter(threads)

    async def run(self, request: Request, task: Callable[[], T], size: int) -> T:
        """Run a task that takes up to `size` bytes, unless the client has disconnected meanwhile.

        HTTPException 503 if no thread or memory becomes free in time, 400 if the task raises a
        ValueError.
        """
        try:
            if size <= SMALL:
                return task()
            waited = self._free.locked()
            async with asyncio.timeout(self._limits.queue_seconds) as wait, self._free:
                waited |= await self._reserve(size)
                try:
                    wait.reschedule(None)
                    if waited and await request.is_disconnected():
                        raise HTTPException(499, "the client disconnected")
                    return await run_sync(task, limiter=self._threads)
                finally:
                    self._working.add(-size)
        except TimeoutError as error:
            raise HTTPException(503, *BUSY) from error
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    async def _reserve(self, size: int) -> bool:
        """Reserve memory as soon as it is free; whether that took a while."""
        waited = False
        self._working.add(size)
        while self._working.total() > self._limits.working_bytes:
            self._working.add(-size)
            await asyncio.sleep(POLL)
            self._working.add(size)
            waited = True
        return waited
