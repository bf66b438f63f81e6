"""Connections that post images and compare every answer with that of the version that it names."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.classifier import Classifier
from pipeline.service.pool import VERSION_LENGTH
from pipeline.service.protocol import HEADER_LENGTH

OUTPUTS = ("logits", "novelty")


@dataclass
class Checked:
    """What the connections have seen so far."""

    answers: dict[str, int] = field(default_factory=dict)  # by version, all as expected
    errors: list[str] = field(default_factory=list)  # failed requests and wrong answers
    seconds: list[float] = field(default_factory=list)  # from each request to its answer


class CheckedLoad:
    """Posts one image after the other on several connections until told to stop."""

    def __init__(
        self, port: int, images: NDArray[np.uint8], classifiers: Sequence[Classifier]
    ) -> None:
        """`images`: uint8 [N, H, W]. `classifiers`: all models that may answer."""
        self.seen, self._port, self._stopped = Checked(), port, False
        name = classifiers[0].signature.model
        self._requests = [_request(f"/v2/models/{name}/infer", image) for image in images]
        self._expected = {
            classifier.sha256[:VERSION_LENGTH]: [_answer(classifier, image) for image in images]
            for classifier in classifiers
        }

    async def run(self, connections: int) -> None:
        """Post until `stop` is called."""
        await asyncio.gather(*(self._connection(number) for number in range(connections)))

    def stop(self) -> None:
        """Make each connection end after its current request."""
        self._stopped = True

    async def _connection(self, number: int) -> None:
        reader, writer = None, None
        while not self._stopped:
            image = number % len(self._requests)
            number += 1
            begun = time.perf_counter()
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(self._requests[image])
                head, body = await _read(reader)
            except (OSError, EOFError, ValueError) as error:
                self.seen.errors.append(repr(error))
                reader, writer = None, None
                continue
            self.seen.seconds.append(time.perf_counter() - begun)
            self._check(image, head, body)
        if writer is not None:
            writer.close()

    def _check(self, image: int, head: Mapping[str, str], body: bytes) -> None:
        length = int(head.get(HEADER_LENGTH.lower(), 0))
        if head["status"] != "200":
            self.seen.errors.append(f"status {head['status']}: {body[:200]!r}")
            return
        version = json.loads(body[:length])["model_version"]
        if self._expected[version][image] == body[length:]:
            self.seen.answers[version] = self.seen.answers.get(version, 0) + 1
        else:
            self.seen.errors.append(f"the answer differs from that of version {version}")


def _request(path: str, image: NDArray[np.uint8]) -> bytes:
    tensor = {
        "name": "images",
        "shape": [1, *image.shape],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": image.size},
    }
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"{HEADER_LENGTH}: {len(header)}"]
    lines += [f"Content-Length: {len(header) + image.size}", "", ""]
    return "\r\n".join(lines).encode() + header + image.tobytes()


def _answer(classifier: Classifier, image: NDArray[np.uint8]) -> bytes:
    found = classifier.predict(image[None])
    return b"".join(getattr(found, name).astype("<f4").tobytes() for name in OUTPUTS)


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Headers, with the status, and body of a response."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    head = {"status": first.split()[1]}
    for line in lines:
        name, _, value = line.partition(":")
        head[name.lower()] = value.strip()
    return head, await reader.readexactly(int(head["content-length"]))
