"""A pipeline's folder: where each file of it lies, and the lock that lets one run write there.

The folder is the one that holds params.yaml: the current folder or the nearest one above it, as
git finds a repository, or the one that is named.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums

PARAMS = "params.yaml"


class WorkspacePath:
    """A path below the root of the workspace whose attribute it is."""

    def __init__(self, path: str, *, folder: bool = False) -> None:
        self._path, self.folder = path, folder

    def __get__(self, workspace: "Workspace", owner: type | None = None) -> Path:
        """The path below that root."""
        return workspace.root / self._path


@dataclass(frozen=True)
class Workspace:
    """The paths of a pipeline's files, all below `root`.

    A relative root keeps the paths in messages short: those that a person in the current folder
    would type.
    """

    root: Path

    params = WorkspacePath(PARAMS)  #: the settings of every stage
    requirements = WorkspacePath("requirements.txt")  #: the locked versions of all packages
    versions = WorkspacePath("versions.json")  #: the versions in that lock, as DVC reads them

    raw = WorkspacePath("data/raw", folder=True)  #: the files of the data set, as published
    #: uint8 images [N, H, W] and labels [N]
    training_set = WorkspacePath("data/train.safetensors")
    test_set = WorkspacePath("data/test.safetensors")  #: the same of the test set
    #: sample images and class counts
    prepare_reports = WorkspacePath("reports/prepare", folder=True)

    #: figures, tables and the workbook
    backprop_reports = WorkspacePath("reports/backprop", folder=True)
    #: every number of every iteration
    backprop_history = WorkspacePath("reports/backprop/history.csv")
    backprop_summary = WorkspacePath("reports/backprop/summary.json")  #: the result in numbers

    weights = WorkspacePath("artifacts/weights.safetensors")  #: averaged weights of the last epoch
    epochs = WorkspacePath("artifacts/epochs", folder=True)  #: averaged weights of each epoch
    checkpoint = WorkspacePath("artifacts/resume.safetensors")  #: only while training is unfinished
    training_lock = WorkspacePath("artifacts/resume.lock")  #: locked while training runs
    train_reports = WorkspacePath("reports/train", folder=True)  #: what training records
    history = WorkspacePath("reports/train/history.csv")  #: a row per epoch
    #: the load of the machine, a row per epoch
    system_metrics = WorkspacePath("reports/train/system.csv")
    #: what was trained, from what, on what
    training_report = WorkspacePath("reports/train/summary.json")

    model = WorkspacePath("artifacts/model.onnx")  #: the exported model, not yet released
    export_report = WorkspacePath("reports/export.json")  #: how far it is from the trained network
    #: metrics, tables and figures
    evaluation_reports = WorkspacePath("reports/evaluation", folder=True)
    metrics = WorkspacePath("reports/evaluation/metrics.json")  #: the model on the test set
    #: the model and the test set that the metrics are about
    subject = WorkspacePath("reports/evaluation/subject.json")
    speed = WorkspacePath("reports/evaluation/speed.json")  #: latency and throughput
    #: loss and accuracy on both sets, a row per epoch
    curves = WorkspacePath("reports/evaluation/curves.csv")
    #: precision, recall and F1 of each class
    per_class = WorkspacePath("reports/evaluation/classes.csv")
    gate_report = WorkspacePath("reports/gate.json")  #: the verdict
    gate_table = WorkspacePath("reports/gate.md")  #: the verdict as a table

    releases = WorkspacePath("models", folder=True)  #: the released model and the files beside it
    model_card = WorkspacePath("models/MODEL_CARD.md")  #: what the released model is and is not for
    provenance = WorkspacePath("models/provenance.json")  #: what it was made from, and how
    checksums = WorkspacePath("models/SHA256SUMS")  #: the SHA-256 of each file of the release

    #: locked while MLflow is brought up to date
    tracking_lock = WorkspacePath("artifacts/track.lock")
    tracked = WorkspacePath("artifacts/mlflow.json")  #: where MLflow shows what is here
    #: promotions that MLflow's alias has not followed yet
    pending_promotions = WorkspacePath("artifacts/promotion.json")

    #: locked while stages run; holds the name of the owner
    lock_file = WorkspacePath("artifacts/workspace.lock")

    @classmethod
    def find(cls) -> "Workspace":
        """The workspace around the current folder. UserError if there is none."""
        try:
            current = Path.cwd()
        except FileNotFoundError as error:
            raise UserError("the current folder has been deleted: change to another") from error
        for levels, folder in enumerate((current, *current.parents)):
            if os.path.isfile(folder / PARAMS):  # noqa: PTH113 (False where access is denied)
                return cls(Path(*[os.pardir] * levels))
        raise UserError(
            f"there is no {PARAMS} in {current} or a folder above it; run in a checkout, or name "
            "one with --workspace"
        )

    @classmethod
    def at(cls, folder: Path) -> "Workspace":
        """The workspace in this folder. UserError if there is none."""
        if not (workspace := cls(folder)).params.is_file():
            raise UserError(f"{folder} is no workspace: there is no {PARAMS}")
        return workspace

    def name(self, path: Path) -> str:
        """A path in the workspace, from its root: the same on every machine."""
        return path.relative_to(self.root).as_posix()

    @property
    def released_model(self) -> Path:
        """The ONNX file in `releases`, which has the name of its model.

        Of several it is the one that the checksums list: a release of another model leaves the old
        one in a folder that cannot be exchanged, such as a mount point. UserError if none is, or
        more than one.
        """
        found = sorted(self.releases.glob("[!.]*.onnx"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            listed = read_checksums(self.checksums) if self.checksums.exists() else {}
            found = [path for path in found if path.name in listed]
            if len(found) != 1:
                raise UserError(
                    f"{self.releases} holds {names}, and no {self.checksums.name} there lists just "
                    "one of them: remove those that are not released"
                )
        return found[0] if found else self.releases / "model.onnx"

    def check_places(self) -> None:
        """UserError if a folder is in the place of a file, or a file in that of a folder.

        Otherwise a command fails where it writes that, which may be at the end of hours of work.
        """
        for attribute, place in vars(Workspace).items():
            if not isinstance(place, WorkspacePath):
                continue
            path: Path = getattr(self, attribute)
            if not place.folder and path.is_dir():
                raise UserError(f"{path} is a folder, where a file belongs: move it away")
            folder = path if place.folder else path.parent
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder} is a file, where a folder belongs: move it away")

    @contextmanager
    def lock(self, owner: str, on_wait: Callable[[str], object] | None = None) -> Iterator[int]:
        """Lock the workspace in the block; while another has it, tell `on_wait` who, and wait.

        A flow run locks it from before its first stage to after its last; a stage that is started
        by hand, or by `dvc repro`, while that runs. However the owner ends, the system unlocks it.
        Gives the lock's file descriptor: a child that inherits it keeps the workspace locked.
        UserError, which names the owner, if there is no `on_wait`.
        """
        with self._locked(on_wait) as file:
            file.truncate(0)
            try:  # without a buffer, which would be written once more when the file is closed
                os.write(file.fileno(), f"{owner} (process {os.getpid()})".encode())
            except OSError as error:  # of a full disk, which names no file
                error.filename = str(self.lock_file)
                raise
            yield file.fileno()

    def _locked(self, on_wait: Callable[[str], object] | None) -> TextIO:
        """The locked file. One that was removed meanwhile protects nothing: another is made."""
        while True:
            self.lock_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = self.lock_file.open("a+", encoding="utf-8")
            except FileNotFoundError:  # its folder was removed just now
                continue
            try:
                _lock(file, on_wait)
            except BaseException:
                file.close()
                raise
            if self._in_place(file):
                return file
            file.close()

    def _in_place(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.lock_file.stat())
        except FileNotFoundError:
            return False


def _lock(file: TextIO, on_wait: Callable[[str], object] | None) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        file.seek(0)
        busy = f"the workspace is busy with {file.read() or 'another run'}"
        if on_wait is None:
            raise UserError(f"{busy}: wait for its end, or stop it") from taken
        on_wait(f"{busy}: waiting for its end")
        fcntl.flock(file, fcntl.LOCK_EX)
