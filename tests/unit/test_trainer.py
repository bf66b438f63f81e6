"""The training loop resumes with the same bits and stops on divergence."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.mnist import TASK
from pipeline.training.network import build_network, pools_first
from pipeline.training.trainer import NonFiniteLossError, train
from tests.digits import make_digits
from tests.unit.test_recipe import RECIPE

Digits = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def digits() -> Digits:
    images, labels = make_digits(48, seed=1)
    return torch.from_numpy(images), torch.from_numpy(labels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resuming_after_any_epoch_gives_the_same_bits(digits: Digits, precision: Any) -> None:
    recipe = replace(RECIPE, epochs=3, precision=precision)
    whole = list(train(TASK, *digits, recipe))
    for epoch in whole[:-1]:
        *_, last = train(TASK, *digits, recipe, epoch.state)
        for name, tensor in whole[-1].weights.items():
            assert torch.equal(tensor, last.weights[name]), name


def test_held_out_images_are_not_trained_on(digits: Digits) -> None:
    images, labels = digits
    recipe = replace(RECIPE, validation_size=16)
    spoilt = labels.clone()
    spoilt[-16:] = 0  # would change the weights if used
    plain, other = (next(train(TASK, images, these, recipe)) for these in (labels, spoilt))
    assert torch.equal(plain.weights["0.weight"], other.weights["0.weight"])
    assert plain.figures["validation_loss"] != other.figures["validation_loss"]


def test_divergence_is_located(digits: Digits) -> None:
    recipe = replace(RECIPE, peak_learning_rate=1e9, warmup=0.0)
    with pytest.raises(NonFiniteLossError, match=r"in epoch 1, batch \d of 3"):
        list(train(TASK, *digits, recipe))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda:7"}, "device 'cuda:7'"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"validation_size": 40}, "validation_size 40"),
    ],
)
def test_impossible_settings_are_value_errors(
    digits: Digits, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(train(TASK, *digits, replace(RECIPE, **changes)))


def test_augmented_images_of_the_wrong_shape_are_reported(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.mnist.augmentation.augment", lambda x, *_: x.unsqueeze(1))
    with pytest.raises(UserError, match=r"augment .*\[16, 1, 28, 28\].*\[16, 28, 28\]$"):
        next(train(TASK, *digits, RECIPE))


def test_pooling_before_relu_is_the_same_function() -> None:
    network = build_network(TASK).eval()
    layers = pools_first(network).eval()
    kinds = [type(layer) for layer in layers]
    assert kinds.index(nn.MaxPool2d) + 1 == kinds.index(nn.ReLU, kinds.index(nn.MaxPool2d))
    assert sorted(map(id, layers)) == sorted(map(id, network))
    inputs = torch.randn(8, 1, 28, 28)
    assert torch.equal(layers(inputs), network(inputs))
