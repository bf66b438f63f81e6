"""What a task is: all that the pipeline has to know to learn another data set.

A task is a package that params.yaml names, such as pipeline/mnist, with `TASK` and three modules:

- `data`: `read(raw)` decodes the published files into a training set and a test set.
- `network`: `build_network(dropout)` is the network, float [N, 1, H, W] to [N, classes, 1, 1].
- `augmentation`: `augment(images, generator, recipe)` distorts training images at random.

The last two require torch and are imported on first use. What users of an exported model have to
know of its task travels in its file, as the model signature.
"""

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError

if TYPE_CHECKING:  # slow to import
    from collections.abc import Sequence

    import torch


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

    def read(self, raw: Path) -> tuple[LabelledImages, LabelledImages]:
        """The training set and the test set from the files as published; UserError if broken."""
        return self._module("data").read(raw)  # type: ignore[no-any-return]

    def build_network(
        self, dropout: "Sequence[float]" = (0.0, 0.0, 0.0, 0.0)
    ) -> "torch.nn.Sequential":
        """The network with random weights; `dropout`: the rates of its Dropout layers."""
        return self._module("network").build_network(dropout)  # type: ignore[no-any-return]

    def augment(
        self, images: "torch.Tensor", generator: "torch.Generator", recipe: Any
    ) -> "torch.Tensor":
        """uint8 [N, H, W], each image distorted at random: pixels 0..255, float [N, H, W]."""
        return self._module("augmentation").augment(images, generator, recipe)  # type: ignore[no-any-return]

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")


def load_task(name: str, root: Path) -> Task:
    """The task of the package with this path, such as pipeline/mnist, in a workspace or installed.

    The workspace's own comes first, as it does where its root is the current folder. UserError if
    there is none.
    """
    if sys.path[:1] != [str(root.absolute())]:
        sys.path.insert(0, str(root.absolute()))
    try:
        task = import_module(name.replace("/", ".")).TASK
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"params.yaml: task: {name} is not the package of a task: {error}"
        ) from error
    if not isinstance(task, Task):
        raise UserError(f"params.yaml: task: {name}: its TASK is not a Task")
    return task
