"""The exported form of the trained networks: equivalent, with fewer operations.

It computes the same function up to rounding and uses only standard layers:

- Dropout, which has no effect in evaluation mode, is dropped.
- The division of pixels by 255 and by the standard deviation is folded into the weights of the
  first convolution. The mean is still subtracted separately, because the zero padding of that
  convolution represents the mean.
- BatchNorm is folded into the next convolution if that has no padding. Before a padded
  convolution it stays: padding is zero after BatchNorm, and no single padding value before
  BatchNorm maps to zero in every channel.
- The layers after the last ReLU become one linear map from features to logits.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.core.task import ImageForm, Task
from pipeline.training.detector import NO_CLASS, novelty_of
from pipeline.training.network import split_at_last_relu


class FusedClassifier(nn.Module):
    """Equivalent to `Classifier(network, task)` with fewer operations; CPU, evaluation mode."""

    def __init__(self, network: nn.Sequential, task: Task) -> None:
        """Copy the network. Raises ValueError as `split_at_last_relu` does."""
        super().__init__()
        self.network = _fuse_scale(fuse(network, task.form), task)
        self.mean = 255 * task.mean
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images [N, H, W], 0 = background, to logits and probabilities [N, classes]."""
        scores = self.network(images.unsqueeze(1).float() - self.mean)
        return scores, scores.softmax(dim=1)


class FusedDetector(nn.Module):
    """Equivalent to `Detector(network, task)` with fewer operations; CPU, evaluation mode."""

    def __init__(self, network: nn.Sequential, task: Task) -> None:
        """Copy the network. The difference of its two logits becomes its one output."""
        super().__init__()
        self.network = _fuse_scale(fuse(network, task.form), task)
        self.mean = 255 * task.mean
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        for parameters in (last.weight, last.bias):
            parameters.data = parameters.data[NO_CLASS:] - parameters.data[:NO_CLASS]
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images [N, H, W] to log-odds, float [N]."""
        odds: Tensor = self.network(images.unsqueeze(1).float() - self.mean).flatten()
        return odds


class ClassifierWithDetector(nn.Module):
    """A classifier and a detector, fused or not, side by side: everything that a file computes."""

    def __init__(self, classifier: nn.Module, detector: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 images [N, H, W] to logits, probabilities [N, classes] and novelty [N]."""
        logits, probabilities = self.classifier(images)
        return logits, probabilities, novelty_of(self.detector(images), logits)


def fuse(network: nn.Sequential, form: ImageForm) -> nn.Sequential:
    """Return a network with fewer layers that maps normalised inputs to the same logits.

    Inputs are [N, 1, H, W], logits [N, classes]. The result is in evaluation mode and shares no
    weights with `network`. Raises ValueError as `split_at_last_relu` does.
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
    """Fold a BatchNorm into the weights of the unpadded convolution that follows.

    BatchNorm maps x to s x + t in each channel, and w (s x + t) = (w s) x + w t.
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
    """Merge affine layers into one nn.Linear on flattened inputs of `shape` [C, H, W].

    The columns of its matrix are the outputs of the layers for the unit vectors.
    """
    affine = nn.Sequential(*layers, nn.Flatten())
    constant = affine(torch.zeros(1, *shape, dtype=torch.float64))
    unit_vectors = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    columns = affine(unit_vectors) - constant
    fused = nn.Linear(*columns.shape)
    fused.weight = nn.Parameter(columns.T.contiguous(), requires_grad=False)
    fused.bias = nn.Parameter(constant[0], requires_grad=False)
    return fused


def _fuse_scale(network: nn.Sequential, task: Task) -> nn.Sequential:
    """Fold the division of pixels into the first convolution; changes the network."""
    first = network[0]
    assert isinstance(first, nn.Conv2d)
    first.weight.data /= 255 * task.std
    return network


def _is_unpadded_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding == (0, 0)
