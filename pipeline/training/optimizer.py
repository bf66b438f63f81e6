"""The optimizer: Muon for convolution kernels, SGD with Nesterov momentum for all the rest.

Muon moves a matrix by its momentum made orthogonal, so that all directions are learned at one pace
(Jordan and others, 2024, "Muon: An optimizer for hidden layers in neural networks"). A kernel
[out, in, 3, 3] is a matrix [out, 3 x 3 x in] here.
"""

import torch
from torch import Tensor, nn

from pipeline.training.recipe import Recipe


class Optimizer:
    """Both optimizers of a network. ValueError unless its kernels are channels-last."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.vector_rate = recipe.vector_rate
        self.kernels = [p for p in network.parameters() if p.ndim > 1]
        self.matrices = [nn.Parameter(_matrix(kernel.data)) for kernel in self.kernels]
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            if matrix.data_ptr() != kernel.data_ptr():  # a copy: the kernel would never move
                raise ValueError(f"a kernel {list(kernel.shape)} is not channels-last")
        self.muon = torch.optim.Muon(
            self.matrices,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        others = [p for p in network.parameters() if p.ndim == 1]
        self.sgd = torch.optim.SGD(others, momentum=recipe.momentum, nesterov=True, foreach=True)

    def step(self, rate: float) -> None:
        """Move by the gradients, kernels at this learning rate."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            assert kernel.grad is not None
            matrix.grad = _matrix(kernel.grad)
        self.muon.param_groups[0]["lr"] = rate
        self.sgd.param_groups[0]["lr"] = rate * self.vector_rate
        self.muon.step()
        self.sgd.step()

    def state(self) -> dict[str, Tensor]:
        """The momenta: all that changes but the network itself."""
        return {
            f"{name}.{index}": values["momentum_buffer"]
            for name, optimizer in self._named()
            for index, values in optimizer.state_dict()["state"].items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        for name, optimizer in self._named():
            content = optimizer.state_dict()
            content["state"] = {
                index: {"momentum_buffer": state[f"{name}.{index}"]}
                for index in range(len(content["param_groups"][0]["params"]))
            }
            optimizer.load_state_dict(content)

    def _named(self) -> list[tuple[str, torch.optim.Optimizer]]:
        return [("muon", self.muon), ("sgd", self.sgd)]


def _matrix(kernel: Tensor) -> Tensor:
    """A kernel as a matrix in the same memory, if it is channels-last."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
