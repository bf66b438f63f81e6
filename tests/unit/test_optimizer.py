"""All kernels are updated as one batch of matrices, like each of them alone by torch's Muon."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.mnist import TASK
from pipeline.training.network import build_network
from pipeline.training.optimizer import Optimizer, orthogonalise
from tests.unit.test_recipe import RECIPE

BFLOAT16 = 2**-8  # relative rounding error; torch's Muon iterates in bfloat16


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return build_network(TASK).to(memory_format=torch.channels_last)


def matrix(kernel: torch.Tensor) -> torch.Tensor:
    return kernel.permute(0, 2, 3, 1).flatten(1)


def test_it_makes_the_updates_of_torch() -> None:
    ours, theirs = network(), network()
    recipe = replace(RECIPE, momentum=0.9, weight_decay=0.2, vector_rate=3.0)
    optimizer = Optimizer(ours, recipe)
    matrices = {
        name: nn.Parameter(matrix(p.detach()))
        for name, p in theirs.named_parameters()
        if p.ndim > 1
    }
    vectors = {name: p for name, p in theirs.named_parameters() if p.ndim == 1}
    muon = torch.optim.Muon(
        matrices.values(), lr=0.02, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"
    )
    sgd = torch.optim.SGD(vectors.values(), lr=0.06, momentum=0.9, nesterov=True)
    for _ in range(4):
        for name, parameter in ours.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            if name in matrices:
                matrices[name].grad = matrix(parameter.grad)
            else:
                vectors[name].grad = parameter.grad.clone()
        optimizer.step(torch.tensor([0.02]))
        muon.step()
        sgd.step()
    for name, parameter in ours.named_parameters():
        if name in vectors:
            torch.testing.assert_close(parameter, vectors[name])
        else:
            moved = 4 * 0.02 * 0.2 * max(matrices[name].shape) ** 0.5
            assert (matrix(parameter) - matrices[name]).abs().max() < 2 * BFLOAT16 * moved


def test_padding_stays_zero() -> None:
    trained = network()
    optimizer = Optimizer(trained, RECIPE)
    for parameter in trained.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(torch.tensor([0.1]))
    momenta = optimizer.momenta.clone()
    assert all(block.count_nonzero() == block.numel() for block in optimizer.blocks(momenta))
    for block in optimizer.blocks(momenta):
        block.zero_()
    assert momenta.count_nonzero() == 0


def test_singular_values_move_close_to_one() -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = (
        torch.randn(3, 16, 40, generator=generator) * torch.tensor([1e-4, 1.0, 1e4])[:, None, None]
    )
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert orthogonalise(torch.zeros(1, 4, 9)).count_nonzero() == 0


def test_frozen_parameters_stay_and_vectors_are_optional() -> None:
    trained = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, bias=False))
    trained.to(memory_format=torch.channels_last)
    frozen = trained[0].requires_grad_(False).state_dict()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    optimizer = Optimizer(trained, RECIPE)
    (kernel,) = trained[1].parameters()
    kernel.grad = torch.randn_like(kernel)
    optimizer.step(torch.tensor([0.1]))
    assert all(torch.equal(value, before[f"0.{name}"]) for name, value in frozen.items())
    assert not torch.equal(kernel, before["1.weight"])
    with pytest.raises(ValueError, match="no kernel"):
        Optimizer(trained.requires_grad_(False), RECIPE)
