"""Request bodies, read within limits and decompressed."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.service.errors import BUSY
from pipeline.service.limits import Limits
from pipeline.service.shared import Tally
from pipeline.service.threads import Threads

M = TypeVar("M", bound=BaseModel)
WINDOW = {  # the wbits argument of zlib
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
    "": 0,
    "identity": 0,
}


class Bodies:
    """Reads request bodies, which share one budget of buffered bytes."""

    def __init__(self, limits: Limits, buffered: Tally, threads: Threads) -> None:
        """`buffered`: the bytes of all bodies in the service. `threads` decompress."""
        self._limits, self._buffered, self._threads = limits, buffered, threads

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The decompressed body of a request, buffered until the block ends.

        HTTPException if it exceeds a size or time limit, is damaged, or has an unsupported
        encoding.
        """
        headers = dict(request.scope["headers"])
        encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if encoding not in WINDOW:
            supported = {"Accept-Encoding": "gzip, deflate, identity"}
            raise HTTPException(415, f"Content-Encoding {encoding} is not supported", supported)
        limit, length = self._limits.body_bytes, headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise HTTPException(400, "Content-Length is not a number")
        if len(length) > 18 or int(length) > limit:
            raise _too_large(limit)
        body, unpacked = bytearray(), b""
        try:
            await self._receive(request, body)
            if WINDOW[encoding]:
                task = partial(decompress, bytes(body), encoding, limit)
                unpacked = await self._threads.run(request, task, limit)
                self._buffer(len(unpacked))
            yield unpacked if WINDOW[encoding] else bytes(body)
        finally:
            self._buffered.add(-len(body) - len(unpacked))

    async def parse(self, request: Request, kind: type[M]) -> M:
        """The JSON body of a request; an empty one is {}. HTTPException 400 if it is invalid."""
        async with self.read(request) as body:
            try:
                return kind.model_validate_json(body or b"{}")
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(map(str, first["loc"]))
                text = f"{where}: {first['msg']}".removeprefix(": ")
                raise HTTPException(400, text) from error

    async def _receive(self, request: Request, body: bytearray) -> None:
        limits, more = self._limits, True
        try:
            async with asyncio.timeout(limits.seconds):
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise HTTPException(400, "the request body ended early")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    body += chunk
                    self._buffer(len(chunk))
                    if len(body) > limits.body_bytes:
                        raise _too_large(limits.body_bytes)
        except TimeoutError as error:
            slow = f"the request body did not arrive within {limits.seconds:g} seconds"
            raise HTTPException(408, slow) from error

    def _buffer(self, size: int) -> None:
        self._buffered.add(size)
        if self._buffered.total() > self._limits.buffered_bytes:
            raise HTTPException(503, *BUSY)


def decompress(content: bytes, encoding: str, limit: int) -> bytes:
    """The decompressed content. ValueError if it is damaged, HTTPException if it is too large.

    `encoding`: a compression in WINDOW. `limit`: bytes after decompression.
    """
    window = WINDOW[encoding]
    if encoding == "deflate" and (content[:1] or b"\0")[0] & 15 != 8:
        window = -zlib.MAX_WBITS  # some clients omit zlib's header
    decompressor = zlib.decompressobj(window)
    try:
        unpacked = decompressor.decompress(content, limit + 1)
    except zlib.error as error:
        raise ValueError(f"the body is not valid {encoding}: {error}") from error
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise ValueError(f"the body is not valid {encoding}: it ends early")
    if decompressor.unused_data:
        raise ValueError(f"the body has bytes after its {encoding} stream")
    return unpacked


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body exceeds the limit of {limit:,} bytes")
