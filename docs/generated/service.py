"""An in-process service of the released model, which the HTTP pages query."""

import asyncio
import atexit
import logging
import socket
from functools import cache
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from pipeline.inference.classifier import Classifier
from pipeline.journal.keeping import JournalSettings
from pipeline.service.app import create_app
from pipeline.service.challenger.copies import CopyQueue, allocate
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.trial import ROW, Rules, Trial
from pipeline.service.limits import Limits
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.token import Tokens

for _name in ("httpx", "pipeline"):  # keep Sphinx's log to pages
    logging.getLogger(_name).setLevel(logging.WARNING)

TOKEN, REVIEW_TOKEN = "TOKEN", "REVIEW_TOKEN"


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


@cache
def app_with_journal() -> FastAPI:
    """The service with a journal in a new folder."""
    folder = Path(mkdtemp())
    atexit.register(rmtree, folder)
    model = ServedModel(Classifier(threads=1))
    tokens = Tokens(use=TOKEN, review=REVIEW_TOKEN)
    settings = JournalSettings(folder)
    return create_app(ModelPool(model), Limits(), tokens, journal=settings)


def kept_entry() -> str:
    """The id of a new entry in the journal."""
    answer = ask("POST", "/predict", of=app_with_journal(), content=picture())
    app_with_journal().state.service.journal.write()
    return str(answer.json()["id"])


def ask(
    method: str, path: str, *, of: FastAPI | None = None, token: str = TOKEN, **content: Any
) -> httpx.Response:
    """The answer of a service, by default of that without a journal, to a request with a token."""

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(of or app())
        headers = {"Authorization": f"Bearer {token}"}
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
