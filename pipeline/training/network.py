"""What every network has in common, whatever its task: inputs, outputs, size."""

import torch
from torch import Tensor, nn

from pipeline.core.task import ImageForm, Task


def normalise(images: Tensor, task: Task) -> Tensor:
    """Pixels 0..255, any dtype, [N, H, W], as the network's input: float [N, 1, H, W]."""
    return ((images.float() / 255 - task.mean) / task.std).unsqueeze(1)


def logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's answer to normalised inputs, float [N, classes]."""
    return network(inputs).flatten(1)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """The network as trained, from raw images to probabilities: the reference for the export."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images, uint8 [N, H, W], 0 = background, to logits and probabilities [N, classes]."""
        scores = logits(self.network, normalise(images, self.task))
        return scores, scores.softmax(dim=1)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def layer_table(network: nn.Sequential, form: ImageForm) -> list[tuple[str, list[int], int]]:
    """A row per layer: name (`Conv2d-1`), output shape with -1 for the batch, parameters."""
    rows = []
    activations = torch.zeros(2, 1, form.height, form.width)
    with torch.inference_mode():
        for number, layer in enumerate(network, start=1):
            activations = layer(activations)
            name = f"{type(layer).__name__}-{number}"
            rows.append((name, [-1, *activations.shape[1:]], count_parameters(layer)))
    return rows
