"""The trained network in an equal form with fewer steps: this is what is exported.

Equal to rounding, and in standard layers, so as portable as the network itself:

- Dropout, which does nothing after training, is left out.
- The division of pixels by 255 and by their deviation goes into the weights of the first
  convolution. Their mean is still subtracted before it: its zero padding stands for the mean.
- BatchNorm goes into the convolution after it where that has no padding. Before a padded one it
  stays: padding is zero after BatchNorm, and no one value before it is zero in all channels.
- What follows the last ReLU is one linear map, from its features to the logits.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.core.task import ImageForm, Task
from pipeline.training.network import split_at_last_relu


class FusedClassifier(nn.Module):
    """What `Classifier(network, task)` computes, in fewer steps; on the CPU, in evaluation mode."""

    def __init__(self, network: nn.Sequential, task: Task) -> None:
        """Copy the network. ValueError as of `split_at_last_relu`."""
        super().__init__()
        self.network = fuse(network, task.form)
        self.mean = 255 * task.mean
        first = self.network[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.data /= 255 * task.std
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images, uint8 [N, H, W], 0 = background, to logits and probabilities [N, classes]."""
        scores = self.network(images.unsqueeze(1).float() - self.mean)
        return scores, scores.softmax(dim=1)


def fuse(network: nn.Sequential, form: ImageForm) -> nn.Sequential:
    """A shorter network with the same logits, [N, classes], for normalised inputs [N, 1, H, W].

    It is a copy in evaluation mode, and shares no weights. ValueError as of `split_at_last_relu`.
    """
    double = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    body, head = split_at_last_relu(double)
    fused: list[nn.Module] = []
    for layer in body:
        previous = fused[-1] if fused else None
        if isinstance(previous, nn.BatchNorm2d) and _is_unpadded_convolution(layer):
            fused[-1] = absorb(previous, layer)
        else:
            fused.append(layer)
    blank = torch.zeros(1, 1, form.height, form.width, dtype=torch.float64)
    features = nn.Sequential(*fused)(blank)
    return nn.Sequential(*fused, nn.Flatten(), linear_map(head, features.shape[1:])).float()


def absorb(norm: nn.BatchNorm2d, convolution: nn.Module) -> nn.Conv2d:
    """The unpadded convolution with the BatchNorm before it in its weights.

    BatchNorm is x → s x + t in each channel, and w (s x + t) = (w s) x + w t.
    """
    assert isinstance(convolution, nn.Conv2d)
    fused = copy.deepcopy(convolution)
    zeros = torch.zeros(1, norm.num_features, 1, 1, dtype=torch.float64)
    shift = norm(zeros)
    scale = norm(zeros + 1) - shift
    bias = (convolution.weight * shift).sum((1, 2, 3))
    if convolution.bias is not None:
        bias += convolution.bias
    fused.weight = nn.Parameter(convolution.weight * scale, requires_grad=False)
    fused.bias = nn.Parameter(bias, requires_grad=False)
    return fused


def linear_map(layers: list[nn.Module], shape: torch.Size) -> nn.Linear:
    """The layers, linear up to a constant, as one: from inputs of that shape [C, H, W], flattened.

    Its columns are what they answer to each input that is 1 in one place and 0 elsewhere.
    """
    answer = nn.Sequential(*layers, nn.Flatten())
    constant = answer(torch.zeros(1, *shape, dtype=torch.float64))
    places = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    columns = answer(places) - constant
    fused = nn.Linear(*columns.shape)
    fused.weight = nn.Parameter(columns.T.contiguous(), requires_grad=False)
    fused.bias = nn.Parameter(constant[0], requires_grad=False)
    return fused


def _is_unpadded_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding == (0, 0)
