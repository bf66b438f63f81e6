"""The detector: a small network that tells whether an image shows any class of the task at all.

A classifier answers one of its classes for every image, often with certainty: its training has
never shown it anything else. The detector is trained on images of the classes and on images that
show none (pipeline/negatives). It is a separate network, so that the classifier stays as it is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.core.task import Task
from pipeline.training.network import normalise

CLASS, NO_CLASS = 0, 1  # the labels of its training images
# By logistic regression on training images and generated ones, about 0.3 for 0.7 of the log-odds.
ENERGY = 0.4
SMALL = 20  # pixels: the side of a small form


def build_detector(task: Task, _: Sequence[float] = ()) -> nn.Sequential:
    """Build the network: normalised images, float [N, 1, H, W], to logits, float [N, 2, 1, 1].

    Without padding, the export folds every BatchNorm. Only images of small forms are padded, so
    that something is left of them.
    """
    padding = int(min(task.form.shape) < SMALL)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, padding), nn.ReLU(), nn.BatchNorm2d(16),  # 13 x 13 of 28 x 28
        nn.Conv2d(16, 32, 3, 1, padding), nn.ReLU(), nn.BatchNorm2d(32),  # 11 x 11
        nn.Conv2d(32, 32, 3, 2, padding), nn.ReLU(), nn.BatchNorm2d(32),  # 5 x 5
        nn.Conv2d(32, 32, 3, 1, padding), nn.ReLU(),  # 3 x 3
    )  # fmt: skip
    with torch.no_grad():
        height, width = body.eval()(torch.zeros(1, 1, *task.form.shape)).shape[2:]
    return nn.Sequential(*body.train(), nn.Conv2d(32, 2, (height, width)))


class Detector(nn.Module):
    """The trained detector from raw images to log-odds: the reference for the export."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images [N, H, W] to the log-odds that there is no class, float [N]."""
        scores: Tensor = self.network(normalise(images, self.task)).flatten(1)
        return scores[:, NO_CLASS] - scores[:, CLASS]


def novelty_of(odds: Tensor, logits: Tensor) -> Tensor:
    """Novelty, float [N], from a detector's log-odds [N] and a classifier's logits [N, classes].

    The energy of the logits (Liu et al. 2020, arXiv:2010.03759) is high where no class is strong.
    The classifier knows its classes better than the detector, which knows more of other images.
    """
    return odds - ENERGY * logits.logsumexp(1)
