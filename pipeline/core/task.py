"""A task: everything that the pipeline has to know about a data set.

A task is a package named in params.yaml, such as pipeline/mnist, with `TASK` and three modules:

- `data`: `read(raw)` decodes the published files into a training set and a test set.
- `network`: `build_network()` returns the network, which pipeline/training/network.py checks.
- `augmentation`: `augment(images, generator, recipe)` distorts training images randomly: uint8
  [N, H, W] become pixels 0..255, float [N, H, W].

The last two require torch and are imported on first use. The package may also contain card.md.j2,
which extends pipeline/stages/MODEL_CARD.md.j2. Code that uses an exported model reads the facts of
its task from the model signature in the file.
"""

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_CLASSES, MAX_CLASSES = 2, 256
MIN_SIDE, MIN_INK = 8, 4  # pixels
FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
OUTPUT_FIELDS = {
    *("id", "label", "confidence", "set", "novelty", "verdict", "probabilities", "image", "error"),
    "model_sha256",
}
UNSURE, NO_INK, SEVERAL = "unsure", "no ink", "several"  # verdicts besides the noun of a task
RESERVED_NOUNS = OUTPUT_FIELDS | {UNSURE, NO_INK, SEVERAL}
SIGNS = "#%+=<>~^@{}±×÷√∞≠≤≥♥♠♣♦★●■▲▼◆→←↑↓"  # none looks like a letter or a digit


class LabelledImages(NamedTuple):
    """A data set: grey images with light ink on a dark background, and their class numbers."""

    images: NDArray[np.uint8]  # [N, H, W]
    labels: NDArray[np.uint8]  # [N]


@dataclass(frozen=True)
class ImageForm:
    """The form of a data set's images, to which other pictures are converted."""

    height: int  # pixels
    width: int
    ink: int  # pixels: side of the square that bounds the ink, which is centred by mass

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """The number of pixels in an image."""
        return self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set and the model that learns it."""

    package: str  # name of the package: pipeline.mnist
    data_set: str  # name of the data set: MNIST
    model: str  # name of the model: mnist-cnn
    noun: str  # what an image shows: digit
    labels: tuple[str, ...]  # names of the classes, in the order of their numbers
    form: ImageForm
    mean: float  # mean pixel of all training images, scaled to 0..1
    std: float  # standard deviation of these pixels
    foreign: str = SIGNS  # characters that show none of the classes, in any handwriting
    mirrored: tuple[str, ...] = ()  # labels whose mirror image shows none of the classes

    def __post_init__(self) -> None:
        """UserError for values that a later stage cannot use or would reject after training."""
        for problem in self._problems():
            raise UserError(f"the task {self.package}: {problem}")

    def _problems(self) -> "Iterator[str]":
        height, width, ink = self.form.height, self.form.width, self.form.ink
        if not (isinstance(self.labels, tuple) and all(isinstance(t, str) for t in self.labels)):
            yield "labels must be a tuple of strings"
        elif not MIN_CLASSES <= len(self.labels) <= MAX_CLASSES:
            yield (
                f"{len(self.labels)} labels, but class numbers are uint8: there must be "
                f"{MIN_CLASSES} to {MAX_CLASSES}"
            )
        elif len(set(self.labels)) < len(self.labels) or "" in self.labels:
            yield "a label is empty or appears twice"
        elif not all(map(str.isprintable, self.labels)):
            yield "a label contains a line break or another unprintable character"
        if min(height, width) < MIN_SIDE or not MIN_INK <= ink <= min(height, width):
            yield (
                f"the form has {height} x {width} pixels and ink of {ink}, but sides must be at "
                f"least {MIN_SIDE}, and ink at least {MIN_INK} and no larger than either side"
            )
        if not FILE_NAME.fullmatch(self.model):
            yield (
                f"the model's name {self.model!r} must consist of ASCII letters, numbers, dots, "
                "hyphens and underscores, and start with a letter or number"
            )
        if self.noun in RESERVED_NOUNS or not self.noun:
            yield f"the noun {self.noun!r} is empty, another output field or another verdict"
        if known := sorted({*self.labels} & {*self.foreign}):
            yield f"{known[0]!r} is a label, so it must not be among the foreign characters"
        if unknown := sorted({*self.mirrored} - {*self.labels}):
            yield f"mirrored contains {unknown[0]!r}, which is not a label"
        if not (0 <= self.mean <= 1 and 0 < self.std <= 1):
            yield f"mean {self.mean} and std {self.std} must be those of pixels scaled to 0..1"

    def read(self, raw: Path) -> tuple[LabelledImages, LabelledImages]:
        """Decode the published files into a training set and a test set. UserError if broken."""
        sets = self.call("data", "read", raw)
        try:
            training, test = (LabelledImages(*map(np.asarray, each)) for each in sets)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.package}.data: read must return a training set and a test set, each of "
                "images and labels"
            ) from error
        for each in (training, test):
            if not each.images.size:
                raise UserError(f"{self.package}.data: read returned a set without images")
        return training, test

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """Call a function in the task's package. UserError if the module or function is missing."""
        name = f"{self.package}.{module}"
        try:
            found = getattr(_import(name), function)
        except ModuleNotFoundError as error:
            if error.name != name:  # a package that the module imports is missing
                raise
            raise UserError(f"the task {self.package} has no module {module}") from error
        except AttributeError as error:
            raise UserError(f"{name} has no function {function}") from error
        return found(*arguments)


def _import(name: str) -> ModuleType:
    """Import a module. UserError with file and line if Python cannot parse it."""
    try:
        return import_module(name)
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error


def load_task(name: str, root: Path, named_in: str = "params.yaml") -> Task:
    """Load the task from a package path such as pipeline/mnist, in the workspace or installed.

    A package in the workspace takes precedence. UserError, which starts with `named_in`, if the
    package is not a valid task.
    """
    if sys.path[:1] != [str(root.absolute())]:
        sys.path.insert(0, str(root.absolute()))
    try:
        task = _import(name.replace("/", ".")).TASK
    except UserError as error:
        raise UserError(f"{named_in}: task: {name}: {error}") from error
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{named_in}: task: {name} is not a task package: {error}") from error
    if not isinstance(task, Task):
        raise UserError(f"{named_in}: task: {name}: its TASK is not a Task")
    if task.package != name.replace("/", "."):
        raise UserError(
            f"{named_in}: task: {name}: its TASK belongs to the package {task.package}; set "
            "package=__name__"
        )
    return task
