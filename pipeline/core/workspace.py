"""The workspace: paths of a pipeline's files, and the lock that admits one run at a time.

A workspace is a folder that contains params.yaml. Commands use the current folder or its nearest
parent with that file, as git does, or the folder that `--workspace` names.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.core.errors import UserError
from pipeline.core.files import publish_directory, write_bytes
from pipeline.core.model_file import model_in

PARAMS = "params.yaml"


class WorkspacePath:
    """An attribute of Workspace: a path below its root."""

    def __init__(self, path: str, *, folder: bool = False) -> None:
        self._path, self.folder = path, folder

    def __get__(self, workspace: "Workspace", owner: type | None = None) -> Path:
        """The path, including the root."""
        return workspace.root / self._path


@dataclass(frozen=True)
class Workspace:
    """The paths of a pipeline's files, all below `root`.

    With a relative root, messages show paths as a user in the current folder would type them.
    """

    root: Path

    params = WorkspacePath(PARAMS)  #: settings of every stage
    requirements = WorkspacePath("requirements.txt")  #: locked versions of all packages
    #: versions in requirements.txt, in a form that DVC can read
    versions = WorkspacePath("versions.json")

    raw = WorkspacePath("data/raw", folder=True)  #: published files of the data set
    #: training set: uint8 images [N, H, W] and labels [N]
    training_set = WorkspacePath("data/train.safetensors")
    #: images drawn from the training set for calibration, in the same form
    calibration_set = WorkspacePath("data/calibration.safetensors")
    test_set = WorkspacePath("data/test.safetensors")  #: test set, in the same form
    #: digests and perceptual hashes of the test images
    test_hashes = WorkspacePath("data/test-hashes.safetensors")
    #: sample images and class counts
    prepare_reports = WorkspacePath("reports/prepare", folder=True)

    #: images from use to train on: images, labels and weights, int64 [N]
    feedback = WorkspacePath("data/feedback.safetensors")
    #: images from use that are never trained on, in the form of the test set
    live_set = WorkspacePath("data/live.safetensors")
    collect_report = WorkspacePath(
        "reports/collect.json"
    )  #: number of images by what became of them
    collected = WorkspacePath("reports/collect/images.csv")  #: each image with votes, by its id
    collect_figure = WorkspacePath("reports/collect/images.png")  #: examples of these images

    #: figures, tables and the workbook of the 2-2-2 network
    backprop_reports = WorkspacePath("reports/backprop", folder=True)
    #: all values of the 2-2-2 network in every iteration
    backprop_history = WorkspacePath("reports/backprop/history.csv")
    #: results of the 2-2-2 network
    backprop_summary = WorkspacePath("reports/backprop/summary.json")

    weights = WorkspacePath("artifacts/weights.safetensors")  #: averaged weights of the last epoch
    epochs = WorkspacePath("artifacts/epochs", folder=True)  #: averaged weights of each epoch
    #: training state; exists only while training is unfinished
    checkpoint = WorkspacePath("artifacts/resume.safetensors")
    training_lock = WorkspacePath("artifacts/resume.lock")  #: locked while training runs
    train_reports = WorkspacePath("reports/train", folder=True)  #: reports of the training
    history = WorkspacePath("reports/train/history.csv")  #: metrics of each epoch
    #: load of the machine in each epoch
    system_metrics = WorkspacePath("reports/train/system.csv")
    #: identity, inputs, environment and result of the training
    training_report = WorkspacePath("reports/train/summary.json")

    detector = WorkspacePath("artifacts/detector.safetensors")  #: weights of the detector
    detect_reports = WorkspacePath("reports/detect", folder=True)  #: reports of its training
    #: inputs and result of that training
    detector_report = WorkspacePath("reports/detect/summary.json")
    #: threshold of novelty and rules of the prediction sets
    calibration_report = WorkspacePath("reports/calibration.json")

    model = WorkspacePath("artifacts/model.onnx")  #: exported model, not yet released
    #: comparison of the exported model with the trained network
    export_report = WorkspacePath("reports/export.json")
    #: metrics, tables and figures of the exported model
    evaluation_reports = WorkspacePath("reports/evaluation", folder=True)
    #: quality of the model on the test set
    metrics = WorkspacePath("reports/evaluation/metrics.json")
    #: digests of the model and the test set that were measured
    subject = WorkspacePath("reports/evaluation/subject.json")
    #: answers on changed test images, and on images that show no class
    behaviour = WorkspacePath("reports/evaluation/behaviour.json")
    live_report = WorkspacePath("reports/evaluation/live.json")  #: quality on the live test set
    speed = WorkspacePath("reports/evaluation/speed.json")  #: latency and throughput
    #: loss and accuracy on both sets, a row per epoch
    curves = WorkspacePath("reports/evaluation/curves.csv")
    #: precision, recall and F1 of each class
    per_class = WorkspacePath("reports/evaluation/classes.csv")
    gate_report = WorkspacePath("reports/gate.json")  #: verdict of the gate
    gate_table = WorkspacePath("reports/gate.md")  #: verdict of the gate as a Markdown table

    models = WorkspacePath("models", folder=True)  #: all releases, and copies of the champion
    #: a folder for each release, named after its number
    releases = WorkspacePath("models/releases", folder=True)
    pointer = WorkspacePath("models/release.json")  #: number and SHA-256 of the champion
    ledger = WorkspacePath("models/ledger.jsonl")  #: all acts on releases, a line each
    release_report = WorkspacePath("reports/release.json")  #: verdict of the release rule
    #: intended use and limits of the released model
    model_card = WorkspacePath("models/MODEL_CARD.md")
    provenance = WorkspacePath("models/provenance.json")  #: inputs and build of the released model
    #: execution providers that may compute the released model
    judged_providers = WorkspacePath("models/providers.json")
    checksums = WorkspacePath("models/SHA256SUMS")  #: SHA-256 of each file of the release

    #: locked while results are published to MLflow
    tracking_lock = WorkspacePath("artifacts/track.lock")
    tracked = WorkspacePath("artifacts/mlflow.json")  #: addresses of these results in MLflow

    retraining_lock = WorkspacePath("artifacts/retrain.lock")  #: locked by a run of `retrain`
    #: locked while stages run; contains the owner's name
    lock_file = WorkspacePath("artifacts/workspace.lock")

    @classmethod
    def find(cls) -> "Workspace":
        """The workspace around the current folder. UserError if there is none."""
        try:
            current = Path.cwd()
        except FileNotFoundError as error:
            raise UserError("the current folder has been deleted: change to another one") from error
        for levels, folder in enumerate((current, *current.parents)):
            if os.path.isfile(folder / PARAMS):  # noqa: PTH113 (False where access is denied)
                return cls(Path(*[os.pardir] * levels))
        raise UserError(
            f"no {PARAMS} in {current} or any parent folder: change to a checkout, or name one "
            "with --workspace"
        )

    @classmethod
    def at(cls, folder: Path) -> "Workspace":
        """The workspace in this folder. UserError if there is none."""
        if not (workspace := cls(folder)).params.is_file():
            raise UserError(f"{folder} is not a workspace: it has no {PARAMS}")
        return workspace

    def name(self, path: Path) -> str:
        """A path relative to the root of the workspace: the same on every machine."""
        return path.relative_to(self.root).as_posix()

    @property
    def released_model(self) -> Path:
        """The copy of the champion's ONNX file in `models`. UserError as in `model_in`."""
        return model_in(self.models)

    def check_places(self) -> None:
        """UserError if a folder is in the place of a file, or a file in the place of a folder.

        Without this check, a command would fail on writing there, possibly after hours of work.
        """
        for attribute, place in vars(Workspace).items():
            if not isinstance(place, WorkspacePath):
                continue
            path: Path = getattr(self, attribute)
            if not place.folder and path.is_dir():
                raise UserError(f"{path} is a folder where a file belongs: move it away")
            folder = path if place.folder else path.parent
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder} is a file where a folder belongs: move it away")

    def require_writable(self) -> None:
        """OSError unless a release can be written: files and folders made, synced and renamed.

        Without this check, a release would fail after all the training.
        """
        for folder in (self.models, self.releases, self.model.parent):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".check-") as scratch:
                new = Path(scratch) / "new"
                new.mkdir()
                write_bytes(new / "file", b"content")
                publish_directory(new, Path(scratch) / "release")

    @contextmanager
    def lock(self, owner: str, on_wait: Callable[[str], object] | None = None) -> Iterator[int]:
        """Lock the workspace for the block. Yields the lock's file descriptor.

        If the workspace is already locked, call `on_wait` with a message that names the owner, and
        wait; without `on_wait`, raise UserError with that message. A flow run holds the lock for
        all its stages; otherwise each stage holds it while it runs. The system releases the lock
        when the owner ends, unless a child that inherited the file descriptor is still running.
        """
        with self._locked(on_wait) as file:
            file.truncate(0)
            try:  # unbuffered: a buffer would be written again on close
                os.write(file.fileno(), f"{owner} (process {os.getpid()})".encode())
            except OSError as error:  # a full disk: the error has no file name
                error.filename = str(self.lock_file)
                raise
            yield file.fileno()

    def _locked(self, on_wait: Callable[[str], object] | None) -> TextIO:
        """Open and lock the lock file, again if it was removed meanwhile and protects nothing."""
        while True:
            self.lock_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = self.lock_file.open("a+", encoding="utf-8")
            except FileNotFoundError:  # the folder was removed after mkdir
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
            raise UserError(f"{busy}: wait until it ends, or stop it") from taken
        on_wait(f"{busy}: waiting until it ends")
        fcntl.flock(file, fcntl.LOCK_EX)
