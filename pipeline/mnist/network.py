"""The network: 27 layers, 19,210 parameters, no fully connected layer.

It takes normalised images, float [N, 1, 28, 28], and gives [N, 10, 1, 1]; `logits` flattens that.
BatchNorm stands *after* ReLU (and Dropout), and the three last convolutions have none.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

MEAN, STD = 0.1307, 0.3081  # of the 60,000 training images, pixels scaled to 0..1
CLASSES = [str(digit) for digit in range(10)]

ReLU = partial(nn.ReLU, inplace=True)  # a twentieth of a training step is saved by it


def build_network(dropout: Sequence[float] = (0.0, 0.0, 0.0, 0.0)) -> nn.Sequential:
    """The 27 layers in order. `dropout` holds the rates of the four Dropout layers, each 0..1."""
    p1, p2, p3, p4 = dropout
    # fmt: off
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), ReLU(), nn.Dropout(p1), nn.BatchNorm2d(16),  # 28 x 28
        nn.Conv2d(16, 16, 3, padding=1), ReLU(), nn.Dropout(p2), nn.BatchNorm2d(16),  # 28 x 28
        nn.Conv2d(16, 16, 3, padding=1), ReLU(), nn.MaxPool2d(2),  # 14 x 14
        nn.Conv2d(16, 16, 3), ReLU(), nn.Dropout(p3), nn.BatchNorm2d(16),  # 12 x 12
        nn.Conv2d(16, 16, 3), ReLU(), nn.Dropout(p4), nn.BatchNorm2d(16),  # 10 x 10
        nn.Conv2d(16, 16, 3), ReLU(), nn.BatchNorm2d(16),  # 8 x 8
        nn.Conv2d(16, 16, 3), ReLU(),  # 6 x 6
        nn.Conv2d(16, 32, 3),  # 4 x 4
        nn.Conv2d(32, 10, 1),  # 4 x 4
        nn.AvgPool2d(4),  # 1 x 1
    )
    # fmt: on


def normalise(images: Tensor) -> Tensor:
    """Pixels 0..255, any dtype, [N, 28, 28], as the network's input: float [N, 1, 28, 28]."""
    return ((images.float() / 255 - MEAN) / STD).unsqueeze(1)


def logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's answer to normalised inputs, float [N, 10]."""
    return network(inputs).flatten(1)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """What is exported: raw images in, logits and probabilities out, normalisation inside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images, uint8 [N, 28, 28], 0 = background, to logits and probabilities [N, 10]."""
        scores = logits(self.network, normalise(images))
        return scores, scores.softmax(dim=1)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def layer_table(network: nn.Sequential) -> list[tuple[str, list[int], int]]:
    """A row per layer: name (`Conv2d-1`), output shape with -1 for the batch, parameters."""
    rows = []
    activations = torch.zeros(2, 1, 28, 28)
    with torch.inference_mode():
        for number, layer in enumerate(network, start=1):
            activations = layer(activations)
            name = f"{type(layer).__name__}-{number}"
            rows.append((name, [-1, *activations.shape[1:]], count_parameters(layer)))
    return rows
