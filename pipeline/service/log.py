"""The log of the service: text on a terminal, elsewhere lines of JSON, which a thread writes."""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

import orjson

ATOMIC = 4096  # bytes: a pipe takes no more without mixing them with another process's
DELAY = 0.05  # seconds that lines wait for others, to be written together
WAITING = 10_000  # records that wait to be written; beyond it, requests wait for the writer
RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}


def set_up(*, json_log: bool) -> None:
    """Log to standard error: JSON from INFO on, or text from WARNING on."""
    handler = JsonHandler(sys.stderr.buffer) if json_log else logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if json_log else logging.Formatter("{levelname}: {message}", style="{")
    )
    level = logging.INFO if json_log else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)


def flush() -> None:
    """Write what has been logged."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class JsonFormatter(logging.Formatter):
    """Formats a record, with its additional fields, as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """A line of JSON."""
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if _is_field(name)}
        if record.exc_info:
            fields["exc_info"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


def _is_field(name: str) -> bool:
    return name not in RESERVED and not name.startswith("_")  # Ray adds such a field


class JsonHandler(logging.Handler):
    """Writes lines from a thread, as many at a time as a pipe takes whole."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._records: deque[logging.LogRecord] = deque()
        self._some, self._writing = threading.Event(), threading.Lock()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a record to the thread."""
        self._records.append(record)
        self._some.set()
        if len(self._records) > WAITING:
            self.flush()

    def flush(self) -> None:
        """Write all records so far."""
        with self._writing:
            for lines in self._groups():
                self._stream.write(lines)
                self._stream.flush()

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(DELAY)
            self._some.clear()
            self.flush()

    def _groups(self) -> Iterator[bytes]:
        """The lines of all records, in groups."""
        group = b""
        while self._records:
            line = self.format(self._records.popleft()).encode() + b"\n"
            if group and len(group) + len(line) > ATOMIC:
                yield group
                group = b""
            group += line
        yield group
