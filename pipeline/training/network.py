"""What every network has in common, whatever its task: layers, inputs, outputs, size.

A network maps float [N, 1, H, W] to [N, classes, 1, 1]. It is an `nn.Sequential` that begins with
a Conv2d and has a ReLU, after the last of which only LINEAR and Dropout follow: the export makes
one linear map of those. It has no nn.Linear, since the optimizer takes every matrix for a
convolution kernel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError, first_line
from pipeline.core.task import ImageForm, Task

LINEAR = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d)  # in evaluation mode, up to a constant


def build_network(task: Task, dropout: Sequence[float] | None = None) -> nn.Sequential:
    """The task's network with random weights; `dropout`: the rates of its Dropout layers, in order.

    UserError if the network cannot be trained or exported, or has another number of Dropout layers.
    """
    network: nn.Sequential = task.call("network", "build_network")
    try:
        check_network(network, task)
    except ValueError as error:
        raise UserError(f"{task.package}.network: {error}") from error
    if dropout is not None:
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
        if len(dropout) != len(layers):
            raise UserError(
                f"params.yaml: train.dropout has {len(dropout)} rates, but the network of "
                f"{task.package} has {len(layers)} Dropout layers"
            )
        for layer, rate in zip(layers, dropout, strict=True):
            layer.p = rate
    return network


def check_network(network: nn.Module, task: Task) -> None:
    """ValueError unless the network can be trained and exported; it is left as it is."""
    if not isinstance(network, nn.Sequential):
        raise ValueError(f"the network is a {type(network).__name__}, not an nn.Sequential")
    split_at_last_relu(network)
    if shapes := [list(p.shape) for p in network.parameters() if p.ndim not in (1, 4)]:
        raise ValueError(
            f"the optimizer knows vectors and kernels [out, in, H, W], not {shapes[0]}"
        )
    training = network.training
    blank = torch.zeros(2, 1, *task.form.shape)
    try:
        with torch.inference_mode():
            shape = list(network.eval()(blank).shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"it takes no images {['N', *blank.shape[1:]]}: {first_line(error)}"
        ) from error
    finally:
        network.train(training)
    expected = [2, len(task.labels), 1, 1]
    if shape != expected:
        raise ValueError(f"its answer to two images is {shape}, not {expected}")


def split_at_last_relu(network: nn.Sequential) -> tuple[list[nn.Module], list[nn.Module]]:
    """The layers without Dropout: those up to the last ReLU, and the linear ones after it.

    ValueError if the first is no Conv2d, if there is no ReLU, or if one after it is not LINEAR.
    """
    layers = [layer for layer in network if not isinstance(layer, nn.Dropout)]
    relus = [number for number, layer in enumerate(layers, start=1) if isinstance(layer, nn.ReLU)]
    if not relus or not isinstance(layers[0], nn.Conv2d):
        raise ValueError("the network does not begin with a Conv2d, or has no ReLU")
    head = layers[relus[-1] :]
    for layer in head:
        if not isinstance(layer, LINEAR):
            known = ", ".join(kind.__name__ for kind in LINEAR)
            raise ValueError(f"{type(layer).__name__} follows the last ReLU, not one of {known}")
    return layers[: relus[-1]], head


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
