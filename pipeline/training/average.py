"""The moving average of the weights, which is what training releases."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a network's weights and BatchNorm statistics.

    `network` must keep its tensors: the average holds on to their memory.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.state_dict()
        self.names = [name for name, value in self.network.items() if value.is_floating_point()]
        self.values = self._current()

    @torch.no_grad()
    def update(self, decay: Tensor) -> None:
        """Move towards the current weights; `decay` [1]: how much of the average stays."""
        self.values.lerp_(self._current(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights as a state_dict of the network; counters are current."""
        sizes = [self.network[name].numel() for name in self.names]
        parts = zip(self.names, self.values.split(sizes), strict=True)
        averaged = {name: values.view(self.network[name].shape) for name, values in parts}
        return {**self.network, **averaged}

    def _current(self) -> Tensor:
        """Return all values that are averaged as one vector."""
        return torch.cat([self.network[name].flatten() for name in self.names])
