"""A network of 17,266 parameters that learns printed letters in seconds."""

from collections.abc import Sequence

from torch import nn


def build_network(dropout: Sequence[float] = (0.0, 0.0, 0.0, 0.0)) -> nn.Sequential:
    """Float [N, 1, 32, 32] to [N, 26, 1, 1]; of the rates the first is that of its one Dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm2d(12),  # 16 x 16
        nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(), nn.Dropout(dropout[0]), nn.BatchNorm2d(24),  # 7
        nn.Conv2d(24, 32, 3), nn.ReLU(),  # 5 x 5
        nn.Conv2d(32, 26, 3),  # 3 x 3
        nn.AvgPool2d(3),  # 1 x 1
    )  # fmt: skip
