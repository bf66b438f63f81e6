"""What decides a training: every number of it, guarded against values that make no sense."""

import math
from dataclasses import dataclass
from typing import Literal

BOUNDS: dict[str, tuple[float, float]] = {  # of the values of a recipe, both included
    "seed": (0, 2**31),
    "epochs": (1, 10_000),
    "batch_size": (2, 1_000_000),
    "peak_learning_rate": (1e-9, 1e9),
    "warmup": (0, 0.99),
    "vector_rate": (0, 1e6),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "weight_average": (0, 0.999999),
    "label_smoothing": (0, 0.99),
    "rotation": (0, 180),
    "shift": (0, 1),
    "scale": (0, 0.9),
    "thicken": (0, 1),
    "thin": (0, 1),
    "noise": (0, 10),
    "validation_size": (0, 1_000_000_000),
}
DROPOUT_BOUNDS = (0, 0.99)  # of each rate


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what training does. Raises ValueError for a value out of range."""

    seed: int
    epochs: int
    batch_size: int
    peak_learning_rate: float
    warmup: float  # fraction of all steps in which the learning rate rises
    vector_rate: float  # learning rate of biases and BatchNorm, in those of kernels
    momentum: float
    weight_decay: float  # on convolution kernels, per step and unit of learning rate
    weight_average: float  # decay per step of the moving average that is released
    label_smoothing: float
    dropout: tuple[float, ...]  # rates of the network's Dropout layers, in order
    rotation: float  # augmentation: up to so many degrees either way
    shift: float  # ... up to this fraction of the side either way
    scale: float  # ... up to this fraction larger or smaller
    thicken: float  # ... strokes: up to this fraction of the way to the largest of 3 x 3 pixels
    thin: float  # ... or to the smallest
    noise: float  # ... half of the images: Gaussian, standard deviation of up to this of a pixel
    validation_size: int  # images held out at the end of the training set
    device: str  # auto, cpu, cuda, cuda:1 ...
    precision: Literal["auto", "float32", "bfloat16"]

    def __post_init__(self) -> None:
        values = [(name, getattr(self, name), *BOUNDS[name]) for name in BOUNDS]
        values += [("dropout", rate, *DROPOUT_BOUNDS) for rate in self.dropout]
        for name, value, low, high in values:
            if not low <= value <= high:  # NaN compares false, so it is caught here too
                raise ValueError(f"{name} is {value}, but must lie between {low:g} and {high:g}")
        if self.momentum == 0:
            raise ValueError("momentum is 0, but Nesterov momentum needs more")

    def learning_rate(self, progress: float) -> float:
        """The one cycle: `progress` 0..1 of all steps; up in a line, down in a half cosine to 0."""
        if progress < self.warmup:
            return self.peak_learning_rate * progress / self.warmup
        decline = (progress - self.warmup) / (1 - self.warmup)
        return self.peak_learning_rate * (1 + math.cos(math.pi * decline)) / 2
