"""A release folder: complete from the moment it has its name, and never changed.

SHA256SUMS in it lists its other files, except signatures.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums, sha256
from pipeline.inference.trust import SIGNATURES

SUMS = "SHA256SUMS"
CARD, PROVENANCE, METRICS = "MODEL_CARD.md", "provenance.json", "metrics.json"
GOLDEN, ANSWERS, BOM = "golden.json", "answers.json", "bom.json"
FIGURES = (  # of reports/evaluation
    *("curves.png", "confusion.png", "misclassified.png", "distortions.png"),
    "negatives.png",
)


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


def verify_checksums(folder: Path) -> None:
    """UserError if a file that SHA256SUMS lists is missing or changed, or a file is not listed."""
    listed = read_checksums(folder / SUMS)
    found = {path.name for path in folder.iterdir()} - {SUMS, *SIGNATURES}
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


def read_release(folder: Path) -> Release | None:
    """The release in a folder; None if a file that SHA256SUMS lists is missing."""
    if not (folder / SUMS).is_file():
        return None
    listed = read_checksums(folder / SUMS)
    models = [name for name in listed if name.endswith(".onnx")]
    if len(models) != 1 or not all((folder / name).is_file() for name in listed):
        return None
    return Release(int(folder.name), folder, folder / models[0], listed[models[0]])
