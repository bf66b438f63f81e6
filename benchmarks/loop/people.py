"""The people of the story: clients who send images, and a reviewer who labels them."""

import itertools
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter

from benchmarks.loop.shifts import NO_DIGIT, Traffic
from pipeline.core.errors import UserError

PAUSE = 0.02  # seconds between two requests of a client
LONGEST = 600.0  # seconds until all images of a client are answered
PATIENCE = 60.0  # seconds that a reviewer waits for the service
QUEUE = 100  # images of one request for the review queue


@dataclass(frozen=True)
class Answer:
    """What the service said about one image."""

    time: float  # seconds since the story began
    version: str
    right: bool | None  # whether the most probable class is the true one; None if there is none


class Clients:
    """Send images one by one, and note answers and errors."""

    def __init__(self, url: str, model: str) -> None:
        self._url = f"{url}/v2/models/{model}/infer"
        self._session, self._begun = requests.Session(), time.monotonic()
        self._session.mount("http://", HTTPAdapter(pool_maxsize=4))
        self.answers: list[Answer] = []
        self.errors: list[str] = []
        self.truth: dict[bytes, str] = {}  # what each image shows, which only people know

    def send(self, traffic: Traffic) -> list[Answer]:
        """Send all images, each again until the service answers; the answers."""
        found, end = [], time.monotonic() + LONGEST
        for image, truth in zip(*traffic, strict=True):
            while (answer := self._send(image, truth)) is None:
                if time.monotonic() > end:
                    raise UserError(f"the service does not answer: {self.errors[-1]}")
                time.sleep(1)
            found.append(answer)
        return found

    @contextmanager
    def sending(self, traffic: Traffic) -> Iterator[None]:
        """Send the images again and again during the block."""
        stopped = threading.Event()

        def run() -> None:
            for image, truth in itertools.cycle(zip(*traffic, strict=True)):
                if stopped.wait(PAUSE):
                    return
                self._send(image, truth)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _send(self, image: NDArray[np.uint8], truth: str) -> Answer | None:
        self.truth[image.tobytes()] = truth
        shape = [1, *image.shape]
        tensor = {"name": "images", "shape": shape, "datatype": "UINT8"}
        body = {
            "inputs": [tensor | {"data": image.ravel().tolist()}],
            "outputs": [{"name": "probabilities"}],
        }
        try:
            response = self._session.post(self._url, json=body, timeout=30)
            response.raise_for_status()
            content = response.json()
        except (requests.RequestException, ValueError) as error:
            self.errors.append(f"{type(error).__name__}: {error}"[:300])
            return None
        probabilities = content["outputs"][0]["data"]
        right = None if truth == NO_DIGIT else str(np.argmax(probabilities)) == truth
        answer = Answer(time.monotonic() - self._begun, content["model_version"], right)
        self.answers.append(answer)
        return answer


class Reviewer:
    """Labels the images of the review queue."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._session = f"{url}/review", requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def waiting(self) -> dict[str, int]:
        """How many images wait, by reason."""
        found: dict[str, int] = self._queue(1)["waiting"]
        return found

    def label(self, truth: dict[bytes, str], count: int) -> int:
        """Label up to so many images, those that the queue names first; how many."""
        done: set[str] = set()
        while len(done) < count and (items := self._queue(QUEUE, done)["items"]):
            for item in items[: count - len(done)]:
                image = np.array(item["image"], np.uint8)
                body = {"id": item["id"], "label": truth[image.tobytes()], "name": "anna"}
                self._call("POST", "labels", json=body)
                done.add(item["id"])
        return len(done)

    def _queue(self, count: int, skip: Collection[str] = ()) -> dict[str, Any]:
        query: dict[str, Any] = {"count": count, "skip": [*skip]}
        found: dict[str, Any] = self._call("GET", "queue", params=query)
        return found

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """Call the service, again while it does not answer."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                response = self._session.request(
                    method, f"{self._url}/{path}", timeout=30, **options
                )
                response.raise_for_status()
                return response.json()
            except requests.RequestException:
                if time.monotonic() > end:
                    raise
            time.sleep(1)


def accuracy(answers: Sequence[Answer]) -> float:
    """The share of the digits for which the most probable class is the true one."""
    right = [answer.right for answer in answers if answer.right is not None]
    return sum(right) / max(1, len(right))
