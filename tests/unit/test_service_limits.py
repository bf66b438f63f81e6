"""The HTTP service under load and with slow clients: limits and responses."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from numpy.typing import ArrayLike
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope

from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.inference.session import available_cores
from pipeline.service.limits import Limits
from tests.checkout import MODEL, needs_model
from tests.digits import Images
from tests.services import async_client, make_app, png

pytestmark = needs_model


class Broken(Classifier):
    """A model that raises."""

    def predict(self, images: ArrayLike) -> Predictions:
        raise RuntimeError("the secret of the house")


class Waiting(Classifier):
    """A model that answers once released."""

    def __init__(self) -> None:
        super().__init__(MODEL, threads=1)
        self.released, self.calls = threading.Event(), 0

    def predict(self, images: ArrayLike) -> Predictions:
        self.calls += 1
        self.released.wait(20)  # so that a defect does not hang the test
        return super().predict(images)


def scope(method: str, path: str) -> Scope:
    """An ASGI scope as from a server."""
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"",
            "root_path": ""}  # fmt: skip


async def wait_for(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def upload(body: bytes) -> tuple[AsyncIterator[bytes], asyncio.Event, asyncio.Event]:
    """A body, an event set once it has started, and an event that lets it end."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield body
        begun.set()
        await finish.wait()

    return pieces(), begun, finish


@pytest.mark.parametrize("limited", ["requests", "buffered bytes"])
def test_a_busy_service_returns_503(ten: Images, limited: str) -> None:
    picture = png(ten[3])
    by_bytes = Limits(buffered_bytes=2 * len(picture) - 1)
    limits = Limits(requests=1) if limited == "requests" else by_bytes

    async def ask() -> None:
        body, begun, finish = upload(picture)
        async with async_client(make_app(limits)) as client:
            running = asyncio.create_task(client.post("/predict", content=body))
            await begun.wait()
            refused = await client.post("/predict", content=picture)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "busy" in refused.json()["error"]
            assert (await client.get("/v2/health/ready")).status_code == 200
            finish.set()
            assert (await running).json()["digit"] == 3
            for _ in range(3):  # also after a refusal
                assert (await client.post("/predict", content=picture)).json()["digit"] == 3

    asyncio.run(ask())


@pytest.mark.parametrize(("model", "status"), [(Classifier, 200), (Broken, 500)])
def test_a_request_counts_until_its_response_is_sent(
    ten: Images, model: type[Classifier], status: int
) -> None:
    """After success, refusal and internal error alike."""
    statuses: list[int] = []
    app = make_app(Limits(requests=1), model(MODEL, threads=1))

    async def post(body: bytes, then: bytes | None = None) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            elif then is not None:  # while this answer is still being sent
                await post(then)

        await app(scope("POST", "/predict"), receive, send)

    async def ask() -> None:
        await post(png(ten[3]), then=png(ten[3]))
        await post(b"no picture")
        await asyncio.gather(post(png(ten[3])), post(png(ten[3])))

    asyncio.run(ask())
    assert statuses == [status, 503, 400, 503, status]


async def occupy_threads(
    client: httpx.AsyncClient, model: Waiting, body: bytes
) -> list[asyncio.Task[Any]]:
    """Start requests that occupy every thread."""
    tasks = [
        asyncio.create_task(client.post("/predict", content=body)) for _ in range(available_cores())
    ]
    await wait_for(lambda: model.calls == available_cores())
    return tasks


def test_a_request_waits_for_a_thread_for_a_limited_time(ten: Images) -> None:
    async def ask() -> None:
        model, body = Waiting(), png(ten[3])
        async with async_client(make_app(Limits(queue_seconds=0.1), model)) as client:
            running = await occupy_threads(client, model, body)
            refused = await client.post("/predict", content=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            model.released.set()
            assert {(await answer).status_code for answer in running} == {200}
            assert (await client.post("/predict", content=body)).status_code == 200

    asyncio.run(ask())


def test_requests_of_disconnected_clients_are_dropped(ten: Images) -> None:
    async def ask() -> None:
        model, body = Waiting(), png(ten[3])
        app = make_app(classifier=model)
        async with async_client(app) as client:
            running = await occupy_threads(client, model, body)
            came: list[Message] = [{"type": "http.request", "body": body}]

            async def receive() -> Message:
                return came.pop() if came else {"type": "http.disconnect"}

            async def send(message: Message) -> None:
                pass

            left = asyncio.ensure_future(app(scope("POST", "/predict"), receive, send))
            await wait_for(lambda: not came)
            model.released.set()
            await asyncio.gather(left, *running)
        assert model.calls == available_cores()

    asyncio.run(ask())


def test_a_stalled_body_times_out() -> None:
    async def ask() -> None:
        body, _, _ = upload(b"a")
        async with async_client(make_app(Limits(seconds=0.2))) as client:
            answer = await client.post("/predict", content=body)
            assert answer.status_code == 408
            assert "0.2 seconds" in answer.json()["error"]

    asyncio.run(ask())


def test_internal_errors_are_logged_not_disclosed(
    ten: Images, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with async_client(make_app(classifier=Broken(MODEL))) as client:
            answer = await client.post("/predict", content=png(ten[3]))
            assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
            assert answer.headers["x-content-type-options"] == "nosniff"
            counted = (await client.get("/metrics")).text
            assert 'http_requests_total{method="POST",route="/predict",status="500"} 1.0' in counted

    asyncio.run(ask())
    (logged,) = (record for record in caplog.records if record.exc_info)
    assert str(logged.exc_info and logged.exc_info[1]) == "the secret of the house"


def sent_by(app: ASGIApp, path: str, method: str) -> list[Message]:
    """The ASGI messages of a response."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope(method, path), receive, send))  # type: ignore[arg-type]
    return sent


def test_head_responses_have_no_body() -> None:
    """Some servers leave it to the application to omit the body."""
    start, *bodies = sent_by(make_app(), "/v2", "HEAD")
    assert start["status"] == 200
    assert b"".join(message["body"] for message in bodies) == b""


def test_a_large_response_is_sent_in_chunks() -> None:
    """Each chunk waits for the client; a server would buffer a whole body of any size."""
    app, large = make_app(), os.urandom(200_000)
    app.add_route("/large", lambda request: Response(large))
    _, *bodies = sent_by(app, "/large", "GET")
    assert max(len(message["body"]) for message in bodies) <= 2**16
    assert b"".join(message["body"] for message in bodies) == large
    assert [message.get("more_body", False) for message in bodies] == [True, True, True, False]
