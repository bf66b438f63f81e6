"""The optimizer: Muon for convolution kernels, SGD with Nesterov momentum for other parameters.

Muon orthogonalises the momentum of a matrix, so that the update has the same size in all
directions (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"). It
treats a kernel [out, in, 3, 3] as a matrix [out, 3 x 3 x in].
"""

import torch
from torch import Tensor, nn

from pipeline.training.recipe import Recipe


class Optimizer:
    """Muon and SGD for one network. Raises ValueError unless its kernels are channels-last."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.vector_rate = recipe.vector_rate
        self.kernels = [p for p in network.parameters() if p.ndim > 1]
        self.matrices = [nn.Parameter(_matrix(kernel.data)) for kernel in self.kernels]
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            if matrix.data_ptr() != kernel.data_ptr():  # a copy: updates would not reach the kernel
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
        """Update all parameters from their gradients; `rate`: the learning rate of kernels."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            assert kernel.grad is not None
            matrix.grad = _matrix(kernel.grad)
        self.muon.param_groups[0]["lr"] = rate
        self.sgd.param_groups[0]["lr"] = rate * self.vector_rate
        self.muon.step()
        self.sgd.step()

    def state(self) -> dict[str, Tensor]:
        """Return the momentum buffers, the optimizer's only state."""
        return {
            f"{name}.{index}": values["momentum_buffer"]
            for name, optimizer in self._named()
            for index, values in optimizer.state_dict()["state"].items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the buffers that `state` returned."""
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
    """View a kernel as a matrix; shares memory if the kernel is channels-last."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
