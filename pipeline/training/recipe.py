"""The training recipe: every hyperparameter, with validated bounds."""

import math
from dataclasses import dataclass
from typing import Literal

BOUNDS: dict[str, tuple[float, float]] = {  # both ends included
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
    """All settings of a training run. Raises ValueError for a value out of range."""

    seed: int
    epochs: int
    batch_size: int
    peak_learning_rate: float
    warmup: float  # fraction of all steps during which the learning rate rises
    vector_rate: float  # learning rate of biases and BatchNorm, relative to that of kernels
    momentum: float
    weight_decay: float  # of convolution kernels, per step and unit of learning rate
    weight_average: float  # decay per step of the moving average of the weights
    label_smoothing: float
    dropout: tuple[float, ...]  # rates of the network's Dropout layers, in order
    rotation: float  # augmentation: largest angle in degrees, in either direction
    shift: float  # ... largest shift in either direction, as a fraction of the side
    scale: float  # ... largest relative change of size
    thicken: float  # ... strokes: largest fraction of the way to the maximum of 3 x 3 pixels
    thin: float  # ... or to the minimum
    noise: float  # ... Gaussian, on half of the images: largest standard deviation, 1 = white
    validation_size: int  # images held out at the end of the training set
    device: str  # auto, cpu, cuda, cuda:1 ...
    precision: Literal["auto", "float32", "bfloat16"]

    def __post_init__(self) -> None:
        values = [(name, getattr(self, name), *BOUNDS[name]) for name in BOUNDS]
        values += [("dropout", rate, *DROPOUT_BOUNDS) for rate in self.dropout]
        for name, value, low, high in values:
            if not low <= value <= high:  # also catches NaN, which compares false
                raise ValueError(f"{name} is {value}, but must be between {low:g} and {high:g}")
        if self.momentum == 0:
            raise ValueError("momentum is 0, but Nesterov momentum must be greater than 0")

    def learning_rate(self, progress: float) -> float:
        """Return the one-cycle rate at `progress` 0..1: linear warm-up, then half a cosine to 0."""
        if progress < self.warmup:
            return self.peak_learning_rate * progress / self.warmup
        decline = (progress - self.warmup) / (1 - self.warmup)
        return self.peak_learning_rate * (1 + math.cos(math.pi * decline)) / 2
