"""The moving average of the weights, which is what training releases."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a network's weights and BatchNorm statistics.

    `network` must keep its tensors: the average holds on to their memory.
    """

    def __init__(self, network: nn.Module) -> None:
        self.current = network.state_dict()
        self.names = [name for name, value in self.current.items() if value.is_floating_point()]
        self.values = self._vector()

    @torch.no_grad()
    def update(self, share: Tensor) -> None:
        """Move towards the current weights; `share` [1]: how much of them the average takes."""
        self.values.lerp_(self._vector(), share)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights as a state_dict of the network; counters are current."""
        sizes = [self.current[name].numel() for name in self.names]
        parts = zip(self.names, self.values.split(sizes), strict=True)
        averaged = {name: values.view(self.current[name].shape) for name, values in parts}
        return {**self.current, **averaged}

    def _vector(self) -> Tensor:
        """Return the current values of all that is averaged."""
        return torch.cat([self.current[name].flatten() for name in self.names])
