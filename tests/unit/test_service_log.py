"""The log of the HTTP service."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pipeline.service import log
from pipeline.service.log import ATOMIC, JsonFormatter, JsonHandler


class Pipe(io.BytesIO):
    """A stream that remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.writes.append(data)
        return len(data)


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def logger(pipe: Pipe) -> Iterator[logging.Logger]:
    handler = JsonHandler(pipe)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("a.logger", logging.INFO)
    logger.addHandler(handler)
    yield logger
    handler.flush()


def lines(pipe: Pipe) -> list[dict[str, object]]:
    return [json.loads(line) for line in b"".join(pipe.writes).splitlines()]


def test_each_record_is_a_line_of_json_with_its_fields(logger: logging.Logger, pipe: Pipe) -> None:
    extra = {"status": 200, "path": "/\x1b[2J", "_of_a_library": 1}
    logger.info("request %s", "é\n", extra=extra)
    try:
        raise KeyError("a cause")
    except KeyError:
        logger.exception("failed")
    logger.handlers[0].flush()
    request, failure = lines(pipe)
    time = str(request.pop("time"))
    assert request == {"level": "INFO", "logger": "a.logger", "message": "request é\n",
                       "status": 200, "path": "/\x1b[2J"}  # fmt: skip
    assert len(time) == len("2026-01-31 12:00:00,000")
    assert "KeyError: 'a cause'" in str(failure["exc_info"])


def test_lines_are_written_together_but_no_more_than_a_pipe_takes_whole(
    logger: logging.Logger, pipe: Pipe
) -> None:
    for number in range(1000):
        logger.info("request", extra={"number": number, "text": "x" * (5000 * (number == 500))})
    logger.handlers[0].flush()
    assert [line["number"] for line in lines(pipe)] == list(range(1000))
    assert all(write.endswith(b"\n") for write in pipe.writes if write)
    assert max(len(write) for write in pipe.writes if write.count(b"\n") > 1) <= ATOMIC
    assert len(pipe.writes) < 200


def test_a_logger_does_not_queue_records_without_bound(
    logger: logging.Logger, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "WAITING", 10)
    monkeypatch.setattr(log, "DELAY", 60)
    for _ in range(11):
        logger.info("request")
    assert len(lines(pipe)) == 11


def test_flush_writes_what_was_logged(monkeypatch: pytest.MonkeyPatch, pipe: Pipe) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler := JsonHandler(pipe)])
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(log, "DELAY", 60)
    root.warning("the last words")
    log.flush()
    assert lines(pipe)[-1]["message"] == "the last words"
