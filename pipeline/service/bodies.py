"""Request bodies, read within limits and decompressed."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from pipeline.service.errors import BUSY
from pipeline.service.limits import Limits

WINDOW = {  # the wbits argument of zlib
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
    "": 0,
    "identity": 0,
}


class Body(NamedTuple):
    """A body as the client sent it."""

    content: bytes
    encoding: str  # one of WINDOW
    limit: int  # bytes, after decompression

    def decompressed(self) -> bytes:
        """The decompressed content. ValueError if it is damaged, HTTPException if too large."""
        window = WINDOW[self.encoding]
        if not window:
            return self.content
        if self.encoding == "deflate" and (self.content[:1] or b"\0")[0] & 15 != 8:
            window = -zlib.MAX_WBITS  # some clients omit zlib's header
        decompressor = zlib.decompressobj(window)
        try:
            content = decompressor.decompress(self.content, self.limit + 1)
        except zlib.error as error:
            raise ValueError(f"the body is not valid {self.encoding}: {error}") from error
        if len(content) > self.limit:
            raise _too_large(self.limit)
        if not decompressor.eof:
            raise ValueError(f"the body is not valid {self.encoding}: it ends early")
        if decompressor.unused_data:
            raise ValueError(f"the body has bytes after its {self.encoding} stream")
        return content


class Bodies:
    """Reads request bodies, which share one budget of buffered bytes."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._buffered = limits, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Body]:
        """The body of a request, buffered until the block ends.

        HTTPException if it exceeds a size or time limit, or has an unsupported encoding.
        """
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in WINDOW:
            supported = {"Accept-Encoding": "gzip, deflate, identity"}
            raise HTTPException(415, f"Content-Encoding {encoding} is not supported", supported)
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise HTTPException(400, "Content-Length is not a number")
        if len(length) > 18 or int(length) > self._limits.body_bytes:
            raise _too_large(self._limits.body_bytes)
        body = bytearray()
        try:
            await self._receive(request, body)
            yield Body(bytes(body), encoding, self._limits.body_bytes)
        finally:
            self._buffered -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.seconds):
                async for chunk in request.stream():
                    body += chunk
                    self._buffered += len(chunk)
                    if len(body) > limits.body_bytes:
                        raise _too_large(limits.body_bytes)
                    if self._buffered > limits.buffered_bytes:
                        raise HTTPException(503, *BUSY)
        except ClientDisconnect as error:
            raise HTTPException(400, "the request body ended early") from error
        except TimeoutError as error:
            slow = f"the request body did not arrive within {limits.seconds:g} seconds"
            raise HTTPException(408, slow) from error


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body exceeds the limit of {limit:,} bytes")
