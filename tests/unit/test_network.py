"""The network against its specified layer table, and the requirements on every network."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.mnist import TASK
from pipeline.training.network import build_network, count_parameters, layer_table
from tests.letters import TASK as LETTERS

# The specified layer table.
TABLE = """
Conv2d-1 16x28x28 160, ReLU-2 16x28x28 0, Dropout-3 16x28x28 0, BatchNorm2d-4 16x28x28 32,
Conv2d-5 16x28x28 2320, ReLU-6 16x28x28 0, Dropout-7 16x28x28 0, BatchNorm2d-8 16x28x28 32,
Conv2d-9 16x28x28 2320, ReLU-10 16x28x28 0, MaxPool2d-11 16x14x14 0,
Conv2d-12 16x12x12 2320, ReLU-13 16x12x12 0, Dropout-14 16x12x12 0, BatchNorm2d-15 16x12x12 32,
Conv2d-16 16x10x10 2320, ReLU-17 16x10x10 0, Dropout-18 16x10x10 0, BatchNorm2d-19 16x10x10 32,
Conv2d-20 16x8x8 2320, ReLU-21 16x8x8 0, BatchNorm2d-22 16x8x8 32,
Conv2d-23 16x6x6 2320, ReLU-24 16x6x6 0, Conv2d-25 32x4x4 4640, Conv2d-26 10x4x4 330,
AvgPool2d-27 10x1x1 0
"""


def test_the_network_matches_its_specification() -> None:
    rows = [
        f"{name} {'x'.join(map(str, shape[1:]))} {count}"
        for name, shape, count in layer_table(build_network(TASK), TASK.form)
    ]
    assert rows == " ".join(TABLE.split()).split(", ")
    assert count_parameters(build_network(TASK)) == 19_210


def test_dropout_rates_apply_to_the_layers_in_order() -> None:
    network = build_network(TASK, (0.1, 0.2, 0.3, 0.4))
    rates = [layer.p for layer in network if isinstance(layer, nn.Dropout)]
    assert rates == [0.1, 0.2, 0.3, 0.4]


def test_a_wrong_number_of_dropout_rates_is_refused() -> None:
    for rates in ((0.1,) * 3, (0.1,) * 5, ()):
        with pytest.raises(
            UserError, match=rf"^params\.yaml: train\.dropout: .*, not {len(rates)}$"
        ):
            build_network(TASK, rates)
    assert [p for p in build_network(LETTERS, (0.3,)).modules() if getattr(p, "p", 0) == 0.3]


CONVOLUTIONS = (nn.Conv2d(1, 4, 3), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (nn.Linear(784, 10), "is a Linear"),
        (nn.Sequential(nn.BatchNorm2d(1), *CONVOLUTIONS), "begin with a Conv2d"),
        (nn.Sequential(*CONVOLUTIONS, nn.MaxPool2d(2)), "MaxPool2d follows the last ReLU"),
        (nn.Sequential(*CONVOLUTIONS, nn.Flatten(), nn.Linear(2704, 10)), "Flatten follows"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(28, 28), nn.ReLU()), r"\[28, 28\]"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), r"\['N', 1, 28, 28\]"),
        (nn.Sequential(*CONVOLUTIONS, nn.Conv2d(4, 9, 26)), r"\[2, 9, 1, 1\], not \[2, 10, 1, 1\]"),
        (nn.Sequential(*CONVOLUTIONS, nn.Conv2d(4, 10, 25)), r"\[2, 10, 2, 2\]"),
    ],
)
def test_a_network_that_cannot_be_exported_is_refused(
    network: nn.Module, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.mnist.network.build_network", lambda: network)
    with pytest.raises(UserError, match=rf"^pipeline\.mnist\.network: [^\n]*{problem}"):
        build_network(TASK)


def test_checking_a_network_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(*CONVOLUTIONS, nn.BatchNorm2d(4), nn.Conv2d(4, 10, 26))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr("pipeline.mnist.network.build_network", lambda: network)
    state = torch.get_rng_state()
    assert build_network(TASK) is network
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
