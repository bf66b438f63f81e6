"""What a task is: all that the pipeline has to know to learn another data set.

A task is a package that params.yaml names, such as pipeline/mnist, with `TASK` and three modules:

- `data`: `read(raw)` decodes the published files into a training set and a test set.
- `network`: `build_network()` returns the network, which pipeline/training/network.py checks.
- `augmentation`: `augment(images, generator, recipe)` distorts training images at random: from
  uint8 [N, H, W] to pixels 0..255, float [N, H, W].

The last two require torch and are imported on first use. A package may have card.md.j2 beside
them, which extends pipeline/stages/MODEL_CARD.md.j2. What users of an exported model have to know
of its task travels in its file, as the model signature.
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
RESERVED_NOUNS = {"label", "image", "id", "confidence", "probabilities", "error", "model_sha256"}


class LabelledImages(NamedTuple):
    """A data set: grey images, light ink on dark ground, and the number of each one's class."""

    images: NDArray[np.uint8]  # [N, H, W]
    labels: NDArray[np.uint8]  # [N]


@dataclass(frozen=True)
class ImageForm:
    """How the images of a data set look, so that other pictures can be brought into that form."""

    height: int  # pixels
    width: int
    ink: int  # pixels: side of the square that the ink fits; its centre of mass is in the middle

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """How many an image has."""
        return self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned."""

    package: str  # pipeline.mnist
    data_set: str  # its name, MNIST
    model: str  # the name of the model, mnist-cnn
    noun: str  # what an image shows, digit
    labels: tuple[str, ...]  # the classes in the order of their numbers
    form: ImageForm
    mean: float  # of the pixels of all training images, scaled to 0..1
    std: float  # ... and their standard deviation

    def __post_init__(self) -> None:
        """UserError for what a later stage could not use, or would only refuse after training."""
        for problem in self._problems():
            raise UserError(f"the task {self.package}: {problem}")

    def _problems(self) -> "Iterator[str]":
        height, width, ink = self.form.height, self.form.width, self.form.ink
        if not (isinstance(self.labels, tuple) and all(isinstance(t, str) for t in self.labels)):
            yield "labels are a tuple of texts"
        elif not MIN_CLASSES <= len(self.labels) <= MAX_CLASSES:
            yield (
                f"{len(self.labels)} labels, but there are {MIN_CLASSES} to {MAX_CLASSES} classes, "
                "whose numbers are uint8"
            )
        elif len(set(self.labels)) < len(self.labels) or "" in self.labels:
            yield "a label is empty or there twice"
        elif not all(map(str.isprintable, self.labels)):
            yield "a label has a line break or another character that cannot be printed"
        if min(height, width) < MIN_SIDE or not MIN_INK <= ink <= min(height, width):
            yield (
                f"the form has {height} x {width} pixels and ink of {ink}, but sides are at least "
                f"{MIN_SIDE}, ink is at least {MIN_INK} and fits both"
            )
        if not FILE_NAME.fullmatch(self.model):
            yield f"the model's name {self.model!r} is no name for a file and a part of a URL"
        if self.noun in RESERVED_NOUNS or not self.noun:
            yield f"the noun {self.noun!r} is empty, or the name of another field of an answer"
        if not (0 <= self.mean <= 1 and 0 < self.std <= 1):
            yield f"mean {self.mean} and std {self.std} are not of pixels scaled to 0..1"

    def read(self, raw: Path) -> tuple[LabelledImages, LabelledImages]:
        """The training set and the test set from the files as published; UserError if broken."""
        sets = self.call("data", "read", raw)
        try:
            training, test = (LabelledImages(*map(np.asarray, each)) for each in sets)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.package}.data: read returns no training set and test set, each of images "
                "and labels"
            ) from error
        for each in (training, test):
            if not each.images.size:
                raise UserError(f"{self.package}.data: read returns a set without images")
        return training, test

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """What a function of the task's package returns. UserError if there is no such function."""
        name = f"{self.package}.{module}"
        try:
            found = getattr(_import(name), function)
        except ModuleNotFoundError as error:
            if error.name != name:  # the module lacks a package
                raise
            raise UserError(f"the task {self.package} has no module {module}") from error
        except AttributeError as error:
            raise UserError(f"{name} has no function {function}") from error
        return found(*arguments)


def _import(name: str) -> ModuleType:
    """The module. UserError with file and line if Python cannot parse it."""
    try:
        return import_module(name)
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error


def load_task(name: str, root: Path, named_in: str = "params.yaml") -> Task:
    """The task of the package with this path, such as pipeline/mnist, in a workspace or installed.

    The workspace's own comes first, as it does where its root is the current folder. UserError,
    which says where it is `named_in`, if there is none.
    """
    if sys.path[:1] != [str(root.absolute())]:
        sys.path.insert(0, str(root.absolute()))
    try:
        task = _import(name.replace("/", ".")).TASK
    except UserError as error:
        raise UserError(f"{named_in}: task: {name}: {error}") from error
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{named_in}: task: {name} is not the package of a task: {error}"
        ) from error
    if not isinstance(task, Task):
        raise UserError(f"{named_in}: task: {name}: its TASK is not a Task")
    if task.package != name.replace("/", "."):
        raise UserError(
            f"{named_in}: task: {name}: its TASK is of the package {task.package}, not of its own "
            "(package=__name__)"
        )
    return task
