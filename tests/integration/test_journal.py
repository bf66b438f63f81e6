"""The journal of a real service: processes that are killed, a disk that is full."""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq

from pipeline.journal.ids import following
from pipeline.journal.reading import entries, votes
from tests.checkout import needs_model
from tests.digits import make_digits
from tests.servers import wait_until
from tests.services import INFER, binary_request, metric, png, serving

pytestmark = needs_model
IMAGES, _ = make_digits(4, 9)
SHEET = png(255 - IMAGES[1])
LOST = 3.0  # seconds of answers that a kill may lose: the open part, and a slow machine


def read_ids(root: Path) -> list[str]:
    return [text for batch in entries(root, columns=["id"]) for text in batch["id"].to_pylist()]


class Load:
    """A client that keeps asking, and notes when it asked for the answer with which id."""

    def __init__(self, url: str) -> None:
        self.ids: dict[str, float] = {}
        self.errors = 0
        self._url, self._stopping = url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            asked = time.monotonic()
            try:
                answer = httpx.post(f"{self._url}/predict", content=SHEET, timeout=10)
            except httpx.TransportError:
                self.errors += 1
                time.sleep(0.05)
                continue
            self.ids[answer.json()["id"]] = asked


def require_whole(root: Path) -> None:
    """Every file that readers see can be read to its end."""
    for path in root.glob("*/[!.]*.parquet"):
        with suppress(FileNotFoundError):  # merged meanwhile
            pq.read_table(path)


def test_a_killed_process_loses_only_its_last_second(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    with serving(tmp_path / "log", f"--journal={root}", "--workers=2") as (process, url):
        workers = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        with Load(url) as load:
            kills = []
            for worker in workers:
                time.sleep(1.3)
                worker.kill()
                kills.append(time.monotonic())
                require_whole(root)
            wait_until(lambda: max(load.ids.values()) > kills[-1] + 2)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    require_whole(root)
    found = read_ids(root)
    assert len(set(found)) == len(found)
    missing = [when for text, when in load.ids.items() if text not in set(found)]
    assert all(any(0 <= kill - when < LOST for kill in kills) for when in missing)
    assert len(missing) < len(load.ids)


def test_a_service_that_stops_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    with serving(tmp_path / "log", f"--journal={root}", "--workers=2") as (process, url):
        body, headers = binary_request(IMAGES)
        first = httpx.post(f"{url}{INFER}", content=body, headers=headers).headers["Journal-Id"]
        made = httpx.post(f"{url}/predict", content=SHEET).json()["id"]
        httpx.post(f"{url}/feedback", json={"id": made, "label": "7"})
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert sorted(read_ids(root)) == sorted([*following(first, 4), made])
    assert [vote.entry for vote in votes(root)] == [made]


def test_a_full_disk_stops_the_journal_but_not_the_service(tmp_path: Path) -> None:
    root, random = tmp_path / "journal", np.random.default_rng(1)
    # they cannot be compressed
    body, headers = binary_request(random.integers(0, 256, (64, 28, 28), np.uint8))
    with serving(tmp_path / "log", f"--journal={root}", "--workers=1") as (process, url):

        def count(result: str) -> float:
            text = httpx.get(f"{url}/metrics").text
            return metric(text, "journal_entries_total", result=result)

        def ask() -> None:
            answer = httpx.post(f"{url}{INFER}", content=body, headers=headers)
            assert answer.status_code == 200

        service = psutil.Process(process.pid)
        service.rlimit(psutil.RLIMIT_FSIZE, (30_000, psutil.RLIM_INFINITY))  # a larger file fails
        ask()
        wait_until(lambda: count("failed") == 64)
        assert list(root.glob("parts/*")) == []
        service.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        ask()
        wait_until(lambda: count("written") == 64)
    assert len(read_ids(root)) == 64
    assert "cannot be written" in (tmp_path / "log").read_text()
