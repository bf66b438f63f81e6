"""The ledger of releases, models/ledger.jsonl: who did what when, a line of JSON for each act.

Each line contains the SHA-256 of the line before it, so an edited, removed or inserted line breaks
the chain. A line counts once its line break is on disk: the rest of a write that a crash
interrupted is ignored by readers and removed by the next act.
"""

import getpass
import hashlib
import os
import platform
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import variables
from pipeline.core.errors import UserError
from pipeline.core.files import sync
from pipeline.core.release_report import Comparison


class Act(StrEnum):
    """What a line records."""

    LOOK = "look"  # a candidate was compared on the test set
    REFUSE = "refuse"  # a candidate was not registered
    REGISTER = "register"  # a model received a number and a folder
    PROMOTE = "promote"  # a release became the champion
    ROLLBACK = "rollback"  # an earlier release became the champion again
    REVIEW = "review"  # images in use are to be looked at, because they have changed
    RETRAIN = "retrain"  # a retraining began
    TRIAL = "trial"  # a release that it registered is compared with the champion in use
    END = "end"  # the retraining ended, with or without a promotion


class Line(BaseModel):
    """A line of models/ledger.jsonl; a field with its default is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    seq: Annotated[int, Field(ge=1)]  #: number of the line
    time: str  #: when it was written: UTC, in ISO 8601
    actor: str  #: who acted: `user@host`, or the actor of a GitHub workflow
    act: Act  #: what was done
    release: int | None = None  #: number of the release
    sha256: str | None = None  #: SHA-256 of the ONNX file
    replaces: str | None = None  #: SHA-256 of the champion before; null if there was none
    verdict: str | None = None  #: verdict of the release rule
    reason: str | None = None  #: reason for the verdict, or the one that a person gave
    held: bool = False  #: whether the stage `release` does not promote it: a person or a trial does
    test_sha256: str | None = None  #: SHA-256 of the test set
    live_sha256: str | None = None  #: SHA-256 of the live test set; null if it was not judged
    look: int | None = None  #: how many candidates were compared on it, with this one
    comparisons: tuple[Comparison, ...] = ()  #: the comparisons behind the verdict
    event: str | None = None  #: id of the event of monitoring that caused the act
    labels: int | None = None  #: labelled images of the champion when a retraining began
    previous: str | None = None  #: SHA-256 of the line before; null for the first

    def to_bytes(self) -> bytes:
        """The line as it stands in the file, with its line break."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"

    @property
    def digest(self) -> str:
        """The SHA-256 of the line, without its line break."""
        return hashlib.sha256(self.to_bytes()[:-1]).hexdigest()

    @property
    def moves_pointer(self) -> bool:
        """Whether the act chose a champion."""
        return self.act in (Act.PROMOTE, Act.ROLLBACK)


class Ledger:
    """The ledger in a file, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Line]:
        """All lines. UserError if a line is not valid or the chain of digests is broken."""
        lines: list[Line] = []
        before = None
        for number, text in enumerate(self._complete(), 1):
            try:
                line = Line.model_validate_json(text)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise self._broken(number, f"is not valid: {first['msg']}") from error
            if (line.seq, line.previous) != (number, before):
                raise self._broken(number, "does not continue the line before it")
            lines.append(line)
            before = hashlib.sha256(text).hexdigest()
        return lines

    def append(self, act: Act, **facts: Any) -> Line:
        """Add a line with these fields and sync it to disk. UserError as in `read`."""
        lines = self.read()
        line = Line(
            seq=len(lines) + 1,
            time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            actor=actor(),
            act=act,
            previous=lines[-1].digest if lines else None,
            **facts,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(sum(len(text) + 1 for text in self._complete()))
            file.write(line.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        sync(self.path.parent)
        return line

    def _complete(self) -> list[bytes]:
        """The lines that end with a line break, without it."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return content.split(b"\n")[:-1]

    def _broken(self, number: int, problem: str) -> UserError:
        return UserError(
            f"{self.path}: line {number} {problem}: restore the file, for example with "
            f"`git checkout {self.path}`"
        )


def actor() -> str:
    """Who acts: the actor of a GitHub workflow, or user@host."""
    if name := variables.GITHUB_ACTOR.get():
        return name
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
