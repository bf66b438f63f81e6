"""The releases in models/: a folder for each number, and the pointer to the champion.

A release folder is complete from the moment it has its name, and never changes. SHA256SUMS in it
lists its other files, except the signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums, sha256
from pipeline.core.report_file import Report
from pipeline.core.workspace import Workspace
from pipeline.registry.ledger import Ledger, Line

SUMS = "SHA256SUMS"
SIGNATURE = "release.sig"
CARD, PROVENANCE, METRICS = "MODEL_CARD.md", "provenance.json", "metrics.json"
GOLDEN, ANSWERS = "golden.json", "answers.json"
FIGURES = (
    *("curves.png", "confusion.png", "misclassified.png", "distortions.png"),
    "negatives.png",
)


class Pointer(Report):
    """The champion: the content of models/release.json."""

    release: Annotated[int, Field(ge=1)]  #: number of the release
    sha256: str  #: SHA-256 of its ONNX file


@dataclass(frozen=True)
class Release:
    """A release: its number, its folder, its ONNX file and the SHA-256 that SHA256SUMS lists."""

    number: int
    folder: Path
    model: Path
    sha256: str

    @property
    def name(self) -> str:
        """The name of the model: mnist-cnn."""
        return self.model.stem

    @property
    def version(self) -> str:
        """The first 12 digits of the SHA-256."""
        return self.sha256[:12]

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / CARD

    @property
    def provenance(self) -> Path:
        """Inputs and build of the model, as an in-toto statement."""
        return self.folder / PROVENANCE

    @property
    def metrics(self) -> Path:
        """The quality of the model on the test set."""
        return self.folder / METRICS

    @property
    def golden(self) -> Path:
        """Images with the answers of this model."""
        return self.folder / GOLDEN

    @property
    def answers(self) -> Path:
        """The predictions of this model on the test set."""
        return self.folder / ANSWERS

    def figure(self, name: str) -> Path | None:
        """The figure with this file name, or None if the release has none."""
        path = self.folder / name
        return path if name in FIGURES and path.is_file() else None


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
        folder = self.models / "releases"
        found = {number: _read(folder / str(number)) for number in self._numbers}
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
        return max([*recorded, *self._numbers], default=0) + 1

    @property
    def _numbers(self) -> list[int]:
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
        return self.by_digest(self.moves[-1].replaces) if self.moves else None

    def rollback_target(self) -> Release | None:
        """The champion that the current one replaced when it was promoted, if it is there."""
        champion = self.champion()
        promoted = [
            line
            for line in self.lines
            if champion and line.act == "promote" and line.sha256 == champion.sha256
        ]
        return self.by_digest(promoted[-1].replaces) if promoted else None

    def held(self) -> bool:
        """Whether the last choice of a champion was a rollback: only a person promotes then."""
        return bool(self.moves) and self.moves[-1].act == "rollback"


def list_releases(workspace: Workspace) -> list[Release]:
    """The complete releases in the workspace, by ascending number."""
    return list(Releases.of(workspace).all.values())


def find_release(workspace: Workspace, number: int) -> Release:
    """The release with this number. UserError names those there are."""
    return Releases.of(workspace).find(number)


def champion(workspace: Workspace) -> Release | None:
    """The release that the pointer names, or None. UserError if pointer and folder disagree."""
    return Releases.of(workspace).champion()


def previous(workspace: Workspace) -> Release | None:
    """The champion before the current one, by the ledger, or None."""
    return Releases.of(workspace).previous()


def verify_checksums(folder: Path) -> None:
    """UserError if a file that SHA256SUMS lists is missing or changed, or a file is not listed."""
    listed = read_checksums(folder / SUMS)
    found = {path.name for path in folder.iterdir()} - {SUMS, SIGNATURE}
    if extra := sorted(found - listed.keys()):
        raise UserError(f"{folder / extra[0]} is not listed in {folder / SUMS}: remove it")
    for name, digest in listed.items():
        path = folder / name
        if "/" in name or not path.is_file() or path.is_symlink():
            raise UserError(f"{path} is missing, but {folder / SUMS} lists it: restore the folder")
        if sha256(path) != digest:
            raise UserError(
                f"{path} does not have the SHA-256 in {folder / SUMS}: restore the folder"
            )


def _read(folder: Path) -> Release | None:
    """The release in a folder; None if a file is missing."""
    if not (folder / SUMS).is_file():
        return None
    listed = read_checksums(folder / SUMS)
    models = [name for name in listed if name.endswith(".onnx")]
    if len(models) != 1 or not all((folder / name).is_file() for name in listed):
        return None
    return Release(int(folder.name), folder, folder / models[0], listed[models[0]])
