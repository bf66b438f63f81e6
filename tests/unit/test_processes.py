"""What the processes of the HTTP service share: counts, limits, memory."""

import asyncio
import gzip
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from starlette.requests import Request

from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.service.limits import OTHER_FILES, Limits, limits_of_process
from pipeline.service.processes import LONGEST_PAUSE, default_count, pause
from pipeline.service.shared import ROW, Place, Tally, alone
from pipeline.service.threads import SMALL, Threads
from tests.checkout import MODEL, needs_model
from tests.digits import Images
from tests.services import INFER, async_client, binary_request, client_of, make_app, png


def places(count: int) -> list[Place]:
    """The places of a service's processes."""
    rows = np.zeros(count, ROW)
    return [Place(rows, process) for process in range(count)]


@needs_model
def test_every_process_reports_the_metrics_of_all(ten: Images) -> None:
    first, second = (make_app(place=place) for place in places(2))
    body, headers = binary_request(ten)
    with client_of(first) as one, client_of(second) as other:
        one.post(INFER, body, headers=headers)
        for _ in range(2):
            other.post(INFER, body, headers=headers)
        for client in (one, other):
            route = "/v2/models/{name}/infer"
            assert client.metric("http_requests_total", route=route, status="200") == 3
            assert client.metric("http_request_seconds_count", route=route) == 3
            assert client.metric("predictions_total", label="7") == 3
            assert client.metric("request_images_sum") == 30
            assert client.metric("prediction_confidence_count") == 30
        with client_of(make_app(place=Place(np.zeros(1, ROW), 0))) as alone:
            memory = alone.metric("process_resident_memory_bytes")
        assert one.metric("process_resident_memory_bytes") > 1.5 * memory
        collections = one.metric("python_gc_collections_total")
        assert other.metric("python_gc_collections_total") >= collections > 0


def test_a_process_that_replaces_another_continues_its_counts_but_not_its_requests() -> None:
    first, second = places(2)
    dead, living = Tally(first, "requests"), Tally(second, "requests")
    dead.add(5)
    living.add(2)
    assert living.total() == 7
    Tally(first, "requests")
    assert living.total() == 2


@needs_model
@pytest.mark.parametrize("limited", ["requests", "buffered bytes"])
def test_processes_share_limits(ten: Images, limited: str) -> None:
    picture = png(ten[3])
    by_bytes = Limits(buffered_bytes=2 * len(picture) - 1)
    limits = Limits(requests=1) if limited == "requests" else by_bytes
    apps = [make_app(limits, place=place) for place in places(2)]

    async def ask() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def body() -> Any:
            yield picture
            begun.set()
            await finish.wait()

        async with async_client(apps[0]) as one, async_client(apps[1]) as other:
            running = asyncio.create_task(one.post("/predict", content=body()))
            await begun.wait()
            assert (await other.post("/predict", content=picture)).status_code == 503
            finish.set()
            assert (await running).status_code == 200
            assert (await other.post("/predict", content=picture)).status_code == 200

    asyncio.run(ask())


def test_small_work_runs_on_the_event_loop_and_large_work_in_threads() -> None:
    async def work() -> None:
        threads = Threads(Limits(), 1, Tally(alone(), "working"))
        request = Request({"type": "http"})
        loop, task = threading.current_thread(), threading.current_thread
        assert await threads.run(request, task, SMALL) is loop
        assert await threads.run(request, task, SMALL + 1) is not loop

    asyncio.run(work())


@needs_model
def test_a_thread_computes_a_large_request(ten: Images) -> None:
    class Observed(Classifier):
        def predict(self, images: ArrayLike) -> Predictions:
            computing.append(threading.current_thread())
            return super().predict(images)

    computing: list[threading.Thread] = []
    with client_of(make_app(classifier=Observed(MODEL, threads=1))) as client:
        for images in (ten, np.tile(ten, (100, 1, 1))):
            body, headers = binary_request(images)
            assert client.post(INFER, body, headers=headers).status_code == 200
    small, large = computing
    assert small is threading.current_thread() is not large


def test_large_work_of_all_processes_fits_into_a_budget_of_memory() -> None:
    limits, size = Limits(working_bytes=10 * SMALL), 6 * SMALL

    async def work() -> None:
        one, other = (Threads(limits, 2, Tally(place, "working")) for place in places(2))
        running = most = 0

        def task() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            threading.Event().wait(0.05)
            running -= 1

        request = Request({"type": "http"}, receive=never)
        await asyncio.gather(*(t.run(request, task, size) for t in (one, one, other, other)))
        assert most == 1
        await asyncio.gather(*(t.run(request, task, size // 2) for t in (one, one, other, other)))
        assert most == 3

    asyncio.run(work())


async def never() -> Any:
    """Receive nothing."""
    await asyncio.Event().wait()


@needs_model
def test_decompressed_bytes_count_as_buffered(ten: Images) -> None:
    body, headers = binary_request(np.zeros((1000, *ten[0].shape), np.uint8))
    packed, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
    for limit, status in ((len(body) // 2, 503), (2 * len(body), 200)):
        with client_of(make_app(Limits(buffered_bytes=limit))) as client:
            assert client.post(INFER, packed, headers=headers).status_code == status
            assert client.post(INFER, packed, headers=headers).status_code == status


@needs_model
def test_a_large_picture_is_classified(ten: Images) -> None:
    large = np.kron(ten[3], np.ones((50, 50), np.uint8))
    with client_of(make_app(classifier=Classifier(MODEL, threads=1))) as client:
        assert client.post("/predict?image=false", png(large)).json()["digit"] == 3


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("", 8)]
)
def test_a_service_has_a_process_per_core_or_as_many_as_its_quota_allows(
    tmp_path: Path, quota: str, count: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert default_count(8, tmp_path / "cpu.max") == count
    assert default_count(8, tmp_path / "missing") == 8


def test_the_pause_between_replacements_that_die_grows_up_to_a_limit() -> None:
    pauses = [pause(failures) for failures in range(100)]
    assert pauses == sorted(pauses)
    assert 0 == pauses[0] < pauses[1] < pauses[2] < pauses[-1] == LONGEST_PAUSE


@pytest.mark.parametrize("processes", [1, 2, 64])
@pytest.mark.parametrize("files", [100, 256, 1024, 1_000_000, resource.RLIM_INFINITY])
def test_requests_in_progress_leave_connections_for_health_checks(
    monkeypatch: pytest.MonkeyPatch, files: int, processes: int
) -> None:
    """However few files a process may have open."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: None)
    limits = limits_of_process(processes)
    assert 1 <= limits.requests < limits.connections
    if files > 10 * OTHER_FILES or files == resource.RLIM_INFINITY:
        assert limits.requests == Limits.requests
        assert limits.connections * processes >= Limits.connections
    elif files > OTHER_FILES + 2:
        assert limits.connections <= files - OTHER_FILES
