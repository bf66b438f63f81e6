"""The network: 27 layers, 19,210 parameters, no fully connected layer.

It maps normalised images, float [N, 1, 28, 28], to logits, float [N, 10, 1, 1]. BatchNorm comes
*after* ReLU (and Dropout). No BatchNorm follows the last three convolutions.
"""

from functools import partial

from torch import nn

ReLU = partial(nn.ReLU, inplace=True)  # its input is not needed again


def build_network() -> nn.Sequential:
    """Build the 27 layers; training sets the rates of the four Dropout layers."""
    # fmt: off
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), ReLU(), nn.Dropout(), nn.BatchNorm2d(16),  # 28 x 28
        nn.Conv2d(16, 16, 3, padding=1), ReLU(), nn.Dropout(), nn.BatchNorm2d(16),  # 28 x 28
        nn.Conv2d(16, 16, 3, padding=1), ReLU(), nn.MaxPool2d(2),  # 14 x 14
        nn.Conv2d(16, 16, 3), ReLU(), nn.Dropout(), nn.BatchNorm2d(16),  # 12 x 12
        nn.Conv2d(16, 16, 3), ReLU(), nn.Dropout(), nn.BatchNorm2d(16),  # 10 x 10
        nn.Conv2d(16, 16, 3), ReLU(), nn.BatchNorm2d(16),  # 8 x 8
        nn.Conv2d(16, 16, 3), ReLU(),  # 6 x 6
        nn.Conv2d(16, 32, 3),  # 4 x 4
        nn.Conv2d(32, 10, 1),  # 4 x 4
        nn.AvgPool2d(4),  # 1 x 1
    )
    # fmt: on
