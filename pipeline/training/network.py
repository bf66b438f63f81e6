"""What the networks of all tasks have in common: layers, inputs, outputs, size.

A network maps float [N, 1, H, W] to [N, classes, 1, 1]. It is an `nn.Sequential` that begins with
a Conv2d and contains a ReLU. Only AFFINE and Dropout layers follow the last ReLU, because the
export merges them into one linear map. Parameters are vectors or convolution kernels: the
optimizer supports no nn.Linear.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.core.errors import UserError, first_line
from pipeline.core.files import REPRO, existing
from pipeline.core.task import ImageForm, Task

AFFINE = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d)  # in evaluation mode


def build_network(task: Task, dropout: Sequence[float] | None = None) -> nn.Sequential:
    """Build the task's network with random weights; `dropout`: one rate per Dropout layer.

    Raises UserError if the network cannot be trained or exported, or if the number of rates is
    not the number of Dropout layers.
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
                f"params.yaml: train.dropout: the network of {task.package} requires "
                f"{len(layers)} rates, one per Dropout layer, not {len(dropout)}"
            )
        for layer, rate in zip(layers, dropout, strict=True):
            layer.p = rate
    return network


def check_network(network: nn.Module, task: Task) -> None:
    """Raise ValueError unless the network can be trained and exported. Does not modify it."""
    if not isinstance(network, nn.Sequential):
        raise ValueError(f"the network is a {type(network).__name__}, not an nn.Sequential")
    split_at_last_relu(network)
    if shapes := [list(p.shape) for p in network.parameters() if p.ndim not in (1, 4)]:
        raise ValueError(
            "the optimizer supports only vectors and kernels [out, in, H, W], but a parameter has "
            f"the shape {shapes[0]}"
        )
    training = network.training
    blank = torch.zeros(2, 1, *task.form.shape)
    try:
        with torch.inference_mode():
            shape = list(network.eval()(blank).shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"it does not accept inputs {['N', *blank.shape[1:]]}: {first_line(error)}"
        ) from error
    finally:
        network.train(training)
    expected = [2, len(task.labels), 1, 1]
    if shape != expected:
        raise ValueError(f"its output for two images has the shape {shape}, not {expected}")


def split_at_last_relu(network: nn.Sequential) -> tuple[list[nn.Module], list[nn.Module]]:
    """Split the layers, without Dropout, into those up to the last ReLU and those after it.

    Raises ValueError if the first layer is not a Conv2d, if there is no ReLU, or if a layer after
    the last ReLU is not AFFINE.
    """
    layers = [layer for layer in network if not isinstance(layer, nn.Dropout)]
    relus = [number for number, layer in enumerate(layers, start=1) if isinstance(layer, nn.ReLU)]
    if not relus or not isinstance(layers[0], nn.Conv2d):
        raise ValueError("the network does not begin with a Conv2d or contains no ReLU")
    head = layers[relus[-1] :]
    for layer in head:
        if not isinstance(layer, AFFINE):
            allowed = ", ".join(kind.__name__ for kind in AFFINE)
            raise ValueError(
                f"{type(layer).__name__} follows the last ReLU; only {allowed} and Dropout may"
            )
    return layers[: relus[-1]], head


def pools_first(network: nn.Sequential) -> nn.Sequential:
    """Return the same layers with each max-pooling before the ReLU that it follows.

    The function is the same, since ReLU never decreases, but ReLU then has fewer values to work
    on, and backward to remember.
    """
    layers = list(network)
    for index, (layer, following) in enumerate(pairwise(network)):
        if isinstance(layer, nn.ReLU) and isinstance(following, nn.MaxPool2d):
            layers[index : index + 2] = following, layer
    return nn.Sequential(*layers)


def normalise(images: Tensor, task: Task) -> Tensor:
    """Convert pixels 0..255 [N, H, W] of any dtype to network inputs, float [N, 1, H, W]."""
    return ((images.float() / 255 - task.mean) / task.std).unsqueeze(1)


def logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return the network's logits for normalised inputs, float [N, classes]."""
    return network(inputs).flatten(1)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """The trained network from raw images to probabilities: the reference for the export."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images [N, H, W], 0 = background, to logits and probabilities [N, classes]."""
        scores = logits(self.network, normalise(images, self.task))
        return scores, scores.softmax(dim=1)


def load_weights(network: nn.Sequential, path: Path) -> nn.Sequential:
    """Load the network's weights from a safetensors file and return it. UserError if unusable."""
    try:
        network.load_state_dict(load_file(existing(path, REPRO)))
    except UserError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{path} does not contain the weights of this network: {reason}") from error
    return network


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def layer_table(network: nn.Sequential, form: ImageForm) -> list[tuple[str, list[int], int]]:
    """Return name (`Conv2d-1`), output shape (-1 for the batch) and parameters of each layer."""
    rows = []
    activations = torch.zeros(2, 1, form.height, form.width)
    with torch.inference_mode():
        for number, layer in enumerate(network, start=1):
            activations = layer(activations)
            name = f"{type(layer).__name__}-{number}"
            rows.append((name, [-1, *activations.shape[1:]], count_parameters(layer)))
    return rows
