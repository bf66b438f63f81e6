"""An in-process service of the released model, which the HTTP pages query."""

import asyncio
import logging
import socket
from functools import cache
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from pipeline.inference.classifier import Classifier
from pipeline.service.app import create_app
from pipeline.service.challenger.copies import CopyQueue, allocate
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.trial import ROW, Rules, Trial
from pipeline.service.limits import Limits
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.token import Tokens

for _name in ("httpx", "pipeline"):  # keep Sphinx's log to pages
    logging.getLogger(_name).setLevel(logging.WARNING)

TOKEN = "TOKEN"  # noqa: S105 (a placeholder)


@cache
def app() -> FastAPI:
    """The service, which requires the token."""
    model = ServedModel(Classifier(threads=1))
    return create_app(ModelPool(model), Limits(), Tokens(use=TOKEN), link=_link(model))


def _link(model: ServedModel) -> Link:
    """A link to no challenger, so that its metrics are listed."""
    trial, connection = Trial(Rules(), np.zeros(1, ROW), 0), socket.socket(type=socket.SOCK_DGRAM)
    queue = CopyQueue(allocate(1))
    return Link(trial, model, model, queue, connection)


def ask(method: str, path: str, **content: Any) -> httpx.Response:
    """The service's answer to a request with the token."""

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app())
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", headers=headers
        ) as client:
            return await client.request(method, path, **content)

    return asyncio.run(answer()).raise_for_status()


@cache
def picture() -> bytes:
    """A PNG file of a vertical stroke, dark on light."""
    grey = np.full((56, 56), 255, np.uint8)
    grey[12:44, 26:30] = 0
    file = BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()
