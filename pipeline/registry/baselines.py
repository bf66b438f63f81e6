"""The models that a candidate must not be inferior to, and their answers on the test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import variables
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import sha256
from pipeline.core.model_file import model_in
from pipeline.core.task import ImageForm
from pipeline.core.workspace import Workspace
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.registry.answers import Answers
from pipeline.registry.ledger import Line
from pipeline.registry.releases import Releases

CHAMPION, BEST, NAMED = "champion", "best release", "baseline"


class IncomparableError(Exception):
    """A baseline cannot be compared with a candidate; the message says why."""


@dataclass(frozen=True)
class Baseline:
    """A model that a candidate is compared with."""

    title: str
    model: Path
    sha256: str
    answers: Path | None  # its answers.json, if it is a release

    def classes(
        self, candidate: Signature, images: NDArray[np.uint8], test_sha256: str, provider: str
    ) -> NDArray[np.integer[Any]]:
        """The predicted classes [N] of the test images, uint8 [N, H, W].

        They are those in answers.json if it is about this test set; otherwise the model runs.
        IncomparableError if the model does not load or is for another task than the candidate.
        """
        try:
            model = OnnxModel(self.model, provider, sha256=self.sha256)
            if difference := task_difference(model.signature, candidate):
                raise IncomparableError(f"{self.model} {difference}")
            if self.answers is not None:
                answers = Answers.read(self.answers)
                if (answers.model_sha256, answers.test_sha256) == (self.sha256, test_sha256):
                    return answers.classes()
            classes: NDArray[np.integer[Any]] = model.run(images).logits.argmax(1)
            return classes
        except UserError as error:
            raise IncomparableError(first_line(error)) from error


@dataclass(frozen=True)
class Baselines:
    """What a candidate is compared with."""

    champion: Baseline | None
    others: Sequence[Baseline]  # releases that were the champion before
    lines: Sequence[Line]  # of the ledgers that count looks at the test set


def find_baselines(workspace: Workspace) -> Baselines:
    """The baselines that PIPELINE_BASELINE names, or by default the releases of the workspace.

    UserError if it names neither a file nor a folder.
    """
    own, named = Releases.of(workspace), variables.BASELINE.get()
    if not named:
        return _of_folder(own, own.lines)
    path = Path(named)
    if path.is_file():
        return Baselines(Baseline(NAMED, path, sha256(path), None), (), own.lines)
    if not path.is_dir():
        raise UserError(
            f"{variables.BASELINE.name} is {named}, which is neither an ONNX file nor a folder: "
            "name a models/ folder, or unset it"
        )
    releases = Releases(path)
    return _of_folder(releases, [*releases.lines, *own.lines])


def _of_folder(releases: Releases, lines: Sequence[Line]) -> Baselines:
    """Champion and earlier champions; without a pointer, the ONNX file in the folder itself."""
    champion = releases.champion()
    if champion is None:
        path = model_in(releases.models)
        file = Baseline(CHAMPION, path, sha256(path), None) if path.exists() else None
        return Baselines(file, (), lines)
    others = [
        Baseline(BEST, release.model, release.sha256, release.answers)
        for release in releases.all.values()
        if release.sha256 != champion.sha256 and release.sha256 in releases.promoted
    ]
    first = Baseline(CHAMPION, champion.model, champion.sha256, champion.answers)
    return Baselines(first, others, lines)


def task_difference(released: Signature, new: Signature) -> str | None:
    """Describe how the task of a released model differs from that of the new one."""
    if released.data_set != new.data_set:
        return f"was trained on {released.data_set}, the new model on {new.data_set}"
    if released.labels != new.labels:
        old_labels, new_labels = ", ".join(released.labels), ", ".join(new.labels)
        return f"has the labels {old_labels}, the new model {new_labels}"
    if released.form != new.form:
        return f"takes {_shape(released.form)}, the new model {_shape(new.form)}"
    return None


def _shape(form: ImageForm) -> str:
    return f"images of {form.height} x {form.width} pixels with ink of {form.ink} x {form.ink}"
