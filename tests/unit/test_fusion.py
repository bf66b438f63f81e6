"""The fused network, which is exported, matches the trained one for any weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.core.task import ImageForm
from pipeline.mnist import TASK
from pipeline.mnist.network import build_network
from pipeline.training.detector import Detector, build_detector
from pipeline.training.fusion import FusedClassifier, FusedDetector, fuse
from pipeline.training.network import Classifier


def random_network(seed: int) -> nn.Sequential:
    """A network with more extreme weights and BatchNorm statistics than training produces."""
    torch.manual_seed(seed)
    network = build_network()
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(16)
            layer.running_var = torch.rand(16) * 4 + 0.01
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return network


def images(count: int, seed: int) -> Tensor:
    """Noise with full ink on the border, where padding matters."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)
    pixels[:, [0, -1]] = pixels[:, :, [0, -1]] = 255
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 7])
def test_the_fused_network_matches_the_trained_one(seed: int, count: int) -> None:
    network = random_network(seed)
    exact = Classifier(copy.deepcopy(network).double(), TASK).eval()
    fused = FusedClassifier(network, TASK)
    pictures = images(count, seed)
    with torch.inference_mode():
        inputs = ((pictures.double() / 255 - 0.1307) / 0.3081).unsqueeze(1)
        expected = exact.network(inputs).flatten(1)
        logits, probabilities = fused(pictures)
    # relative to the largest: random weights give logits of any size
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (probabilities - expected.softmax(1)).abs().max() < 1e-3
    assert logits.shape == probabilities.shape == (count, 10)


@pytest.mark.parametrize("side", [8, 16, 28, 33])
def test_the_fused_detector_matches_the_trained_one(side: int) -> None:
    task = replace(TASK, form=ImageForm(height=side, width=side, ink=6))
    torch.manual_seed(side)
    network = build_detector(task).eval()
    pictures = torch.from_numpy(
        np.random.default_rng(side).integers(0, 256, (5, side, side), np.uint8)
    )
    with torch.inference_mode():
        expected = Detector(network, task)(pictures)
        torch.testing.assert_close(
            FusedDetector(network, task)(pictures), expected, rtol=1e-4, atol=1e-5
        )
    assert expected.shape == (5,)
    assert expected.std() > 1e-3


def test_zero_batch_norm_weights_are_supported() -> None:
    network = random_network(1).eval()
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight[:8])
    with torch.inference_mode():
        expected = Classifier(network, TASK)(images(3, 1))[0]
        torch.testing.assert_close(
            FusedClassifier(network, TASK)(images(3, 1))[0], expected, rtol=1e-4, atol=1e-4
        )


def test_everything_possible_is_fused() -> None:
    """BatchNorm remains only before the two padded convolutions; the end is one linear layer."""
    fused = fuse(build_network(), TASK.form)
    kinds = [type(layer) for layer in fused]
    assert kinds.count(nn.BatchNorm2d) == 2
    assert kinds.count(nn.Conv2d) == 7
    assert kinds[-2:] == [nn.Flatten, nn.Linear]
    assert nn.Dropout not in kinds
    assert len(fused) == 19


def test_fusing_does_not_change_the_trained_network() -> None:
    network = random_network(1).train()
    before = copy.deepcopy(network.state_dict())
    FusedClassifier(network, TASK)
    assert network.training
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name
    assert all(weights.requires_grad for weights in network.parameters())


@pytest.mark.parametrize(
    ("convolution", "norms"),
    [
        (nn.Conv2d(4, 4, 3), 0),
        (nn.Conv2d(4, 4, 3, bias=False), 0),
        (nn.Conv2d(4, 4, 3, stride=2, dilation=2), 0),
        (nn.Conv2d(4, 4, 3, padding=1), 1),
        (nn.Conv2d(4, 4, 3, padding="same"), 1),
        (nn.Conv2d(4, 4, 3, groups=4), 1),
    ],
)
def test_every_kind_of_convolution_after_batch_norm_is_handled(
    convolution: nn.Module, norms: int
) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, affine=False)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.1
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), norm, convolution, nn.ReLU(), nn.Conv2d(4, 10, 3),
        nn.AvgPool2d(2),
    ).eval()  # fmt: skip
    form = ImageForm(height=16, width=18, ink=8)
    inputs = torch.randn(3, 1, form.height, form.width)
    fused = fuse(network, form)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in fused) == norms
    with torch.inference_mode():
        torch.testing.assert_close(fused(inputs), network(inputs).flatten(1), rtol=1e-4, atol=1e-4)


def test_unsupported_layers_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 3), nn.ReLU(), nn.MaxPool2d(26))
    with pytest.raises(ValueError, match="MaxPool2d follows the last ReLU"):
        fuse(network, TASK.form)
    with pytest.raises(ValueError, match="no ReLU"):
        fuse(nn.Sequential(nn.Conv2d(1, 10, 28)), TASK.form)
    with pytest.raises(ValueError, match="begin with a Conv2d"):
        FusedClassifier(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 10, 28)), TASK)
