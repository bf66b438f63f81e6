"""The network, row by row: its table is its specification."""

from torch import nn

from pipeline.mnist import TASK
from pipeline.training.network import count_parameters, layer_table

# The layer table that the network is specified by.
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


def test_the_network_is_the_specified_one_row_by_row() -> None:
    rows = [
        f"{name} {'x'.join(map(str, shape[1:]))} {count}"
        for name, shape, count in layer_table(TASK.build_network(), TASK.form)
    ]
    assert rows == " ".join(TABLE.split()).split(", ")
    assert count_parameters(TASK.build_network()) == 19_210


def test_dropout_rates_go_to_the_four_layers_in_order() -> None:
    network = TASK.build_network((0.1, 0.2, 0.3, 0.4))
    rates = [layer.p for layer in network if isinstance(layer, nn.Dropout)]
    assert rates == [0.1, 0.2, 0.3, 0.4]
