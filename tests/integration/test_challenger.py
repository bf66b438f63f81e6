"""A challenger in its process: one that is good, and some with faults."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import pytest

from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.service.challenger.link import Link
from pipeline.service.challenger.process import Model
from pipeline.service.challenger.seats import seats
from pipeline.service.challenger.trial import Rules
from pipeline.service.pool import ServedModel
from tests.challengers import Crashing, Failing, Faithful, Hanging, Slow, Wrong
from tests.checkout import MODEL, needs_model
from tests.digits import Images
from tests.servers import wait_until

pytestmark = needs_model
CANARY = Rules(percent=100, deadline=0.5)
SECONDS = 0.001  # that the champion takes


@pytest.fixture(scope="module")
def champion() -> ServedModel:
    return ServedModel(Classifier(MODEL, threads=1))


def asked(
    champion: ServedModel, kind: Callable[..., Model], image: Images, requests: int
) -> tuple[list[Predictions | None], Link]:
    """The answers of such a challenger to the same image, until the trial ends; and the link."""
    predictions = champion.classifier.predict(image)

    async def ask(link: Link) -> list[Predictions | None]:
        found = []
        while len(found) < requests and link.takes("any"):
            found.append(await link.ask(image, predictions, SECONDS))
        return found

    with seats(partial(kind, MODEL), CANARY, 1) as (seat,):
        link = seat.link(champion)
        asyncio.run(started(link, image, predictions))
        return asyncio.run(ask(link)), link
