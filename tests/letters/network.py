"""A network of 17,266 parameters that learns printed letters in seconds."""

from torch import nn


def build_network() -> nn.Sequential:
    """Float [N, 1, 32, 32] to [N, 26, 1, 1]."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm2d(12),  # 16 x 16
        nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(), nn.Dropout(), nn.BatchNorm2d(24),  # 7
        nn.Conv2d(24, 32, 3), nn.ReLU(),  # 5 x 5
        nn.Conv2d(32, 26, 3),  # 3 x 3
        nn.AvgPool2d(3),  # 1 x 1
    )  # fmt: skip
