"""The releases in models/: a folder for each number, the pointer to the champion, the ledger."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.core.report_file import Report
from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.registry.answers import Answers
from pipeline.registry.folder import Release, read_release
from pipeline.registry.ledger import Act, Ledger, Line

__all__ = ["Pointer", "Release", "Releases"]


class Pointer(Report):
    """The champion: the content of models/release.json."""

    release: Annotated[int, Field(ge=1)]  #: number of the release
    sha256: str  #: SHA-256 of its ONNX file


class Releases:
    """The releases in a models/ folder, which need not exist, as they are when first read."""

    def __init__(self, models: Path) -> None:
        self.models = models

    @classmethod
    def of(cls, workspace: Workspace) -> "Releases":
        """The releases of a workspace."""
        return cls(workspace.models)

    @cached_property
    def all(self) -> Mapping[int, Release]:
        """The complete folders by number, ascending."""
        found = {number: read_release(self.folder(number)) for number in self.numbers}
        return {number: release for number, release in found.items() if release is not None}

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of the ledger. UserError if it is damaged."""
        return Ledger(self.models / "ledger.jsonl").read()

    @cached_property
    def moves(self) -> list[Line]:
        """The lines that chose a champion, in order."""
        return [line for line in self.lines if line.moves_pointer]

    @property
    def next_number(self) -> int:
        """The number of the next release: no number is used twice."""
        recorded = [line.release for line in self.lines if line.release is not None]
        return max([*recorded, *self.numbers], default=0) + 1

    def folder(self, number: int) -> Path:
        """The folder of the release with this number."""
        return self.models / "releases" / str(number)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all release folders, complete or not, ascending."""
        found = (self.models / "releases").glob("[1-9]*")
        return sorted(int(path.name) for path in found if path.name.isdecimal())

    def find(self, number: int) -> Release:
        """The release with this number. UserError names those there are."""
        if number not in self.all:
            there = ", ".join(map(str, self.all)) or "none"
            raise UserError(f"{self.models} has no release {number}; it has: {there}")
        return self.all[number]

    def by_digest(self, digest: str | None) -> Release | None:
        """The newest release of the ONNX file with this SHA-256, if there is one."""
        found = [release for release in self.all.values() if release.sha256 == digest]
        return found[-1] if found else None

    def champion(self) -> Release | None:
        """The release that the pointer names; None without a pointer.

        UserError if its folder is missing or contains another model.
        """
        path = self.models / "release.json"
        if not path.exists():
            return None
        pointer = Pointer.read(path)
        release = self.all.get(pointer.release)
        if release is None:
            raise UserError(
                f"{path} names release {pointer.release}, which is missing or incomplete: restore "
                f"{self.models}, for example with `git checkout {self.models}`"
            )
        if not release.sha256 == pointer.sha256 == sha256(release.model):
            raise UserError(
                f"{release.model} is not the model that {path} names: restore {self.models}, for "
                f"example with `git checkout {self.models}`"
            )
        return release

    def previous(self) -> Release | None:
        """The champion before the current one, by the ledger, if its folder is still there."""
        replaced = [line.replaces for line in self.moves if line.replaces != line.sha256]
        return self.by_digest(replaced[-1]) if replaced else None

    def rollback_target(self) -> Release | None:
        """The champion that the current one replaced when it was promoted, if it is there."""
        champion = self.champion()
        promoted = [
            line
            for line in self.lines
            if champion
            and line.act is Act.PROMOTE
            and line.replaces != line.sha256 == champion.sha256
        ]
        return self.by_digest(promoted[-1].replaces) if promoted else None

    @property
    def promoted(self) -> set[str | None]:
        """The SHA-256 of each model that is or was the champion."""
        return {line.sha256 for line in self.moves} | {line.replaces for line in self.moves}

    def best(self) -> Release | None:
        """The champion of all times: the highest accuracy on the test set of the current champion.

        If several have it, the first. None without a champion. UserError if a file is damaged.
        """
        if (champion := self.champion()) is None:
            return None
        test_sha256 = Answers.read(champion.answers).test_sha256
        return max(
            (
                release
                for release in self.all.values()
                if release.sha256 in {champion.sha256, *self.promoted}
                and Answers.read(release.answers).test_sha256 == test_sha256
            ),
            key=lambda release: (Metrics.read(release.metrics).accuracy, -release.number),
        )

    def registration(self, release: Release) -> Line | None:
        """The line of the ledger that registered a release; None if a crash prevented it."""
        found = (line for line in self.lines if line.act is Act.REGISTER)
        return next((line for line in found if line.release == release.number), None)

    def registered(self, digest: str) -> Line | None:
        """The line that registered the release of this file, if the release is still there."""
        release = self.by_digest(digest)
        return None if release is None else self.registration(release)

    def held(self) -> bool:
        """Whether the last choice of a champion was a rollback: only a person promotes then."""
        return bool(self.moves) and self.moves[-1].act is Act.ROLLBACK
