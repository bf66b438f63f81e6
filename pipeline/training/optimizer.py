"""The optimizer: Muon for convolution kernels, SGD with Nesterov momentum for other parameters.

Muon orthogonalises the momentum of a matrix, so that the update has the same size in all
directions (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"). It
treats a kernel [out, in, 3, 3] as a matrix [out, 3 x 3 x in].

`torch.optim.Muon` updates one kernel at a time, with 30 operations for each. Here all kernels are
updated at once, as a batch of matrices that zeros pad to the same size: the zeros stay zero.
"""

import math

import torch
from torch import Tensor, nn

from pipeline.training.recipe import Recipe

# Coefficients of the polynomial a x + b x^3 + c x^5 of Jordan et al., which moves the singular
# values of a matrix towards 1, and how often it is applied.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Optimizer:
    """Muon and SGD for the parameters of a network that are trained.

    Raises ValueError unless there are kernels and all of them are channels-last.

    A step reads nothing from the device: the learning rate is a tensor, and no operation depends
    on a value.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.momentum = recipe.momentum
        self.weight_decay = recipe.weight_decay
        self.vector_rate = recipe.vector_rate
        trained = [p for p in network.parameters() if p.requires_grad]
        self.kernels = [p for p in trained if p.ndim > 1]
        self.vectors: list[Tensor] = [p for p in trained if p.ndim == 1]
        if not self.kernels:
            raise ValueError("the network has no kernel to train")
        matrices = [_matrix(kernel) for kernel in self.kernels]
        for kernel, matrix in zip(self.kernels, matrices, strict=True):
            if matrix.data_ptr() != kernel.data_ptr():  # a copy: updates would not reach the kernel
                raise ValueError(f"a kernel {list(kernel.shape)} is not channels-last")
        self.matrices = [matrix.detach() for matrix in matrices]
        shapes = [matrix.shape for matrix in matrices]
        rows, columns = (max(sizes) for sizes in zip(*shapes, strict=True))
        device = self.kernels[0].device
        # "match_rms_adamw": the root mean square of an update is then a fifth of the learning rate
        scales = [0.2 * math.sqrt(max(shape)) for shape in shapes]
        self.scales = torch.tensor(scales, device=device).view(-1, 1, 1)
        self.gradients = torch.zeros(len(shapes), rows, columns, device=device)
        self.momenta = torch.zeros_like(self.gradients)  # of the kernels, Muon
        self.velocities = torch.zeros(sum(map(len, self.vectors)), device=device)  # SGD

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Update all parameters from their gradients; `rate` [1]: the learning rate of kernels."""
        torch._foreach_copy_(self.blocks(self.gradients), [_matrix(_grad(k)) for k in self.kernels])
        self.momenta.lerp_(self.gradients, 1 - self.momentum)
        updates = orthogonalise(self.gradients.lerp(self.momenta, self.momentum))
        torch._foreach_mul_(self.matrices, (1 - rate * self.weight_decay).squeeze())
        torch._foreach_sub_(self.matrices, self.blocks(updates * (self.scales * rate)))

        if not self.vectors:
            return
        gradients = torch.cat([_grad(vector) for vector in self.vectors])
        self.velocities.mul_(self.momentum).add_(gradients)
        steps = (gradients + self.velocities * self.momentum) * (rate * self.vector_rate)
        torch._foreach_sub_(self.vectors, steps.split([len(vector) for vector in self.vectors]))

    def blocks(self, batch: Tensor) -> list[Tensor]:
        """Return views of the matrices of the kernels in a padded batch of them."""
        sizes = [matrix.shape for matrix in self.matrices]
        return [
            padded[:rows, :columns] for padded, (rows, columns) in zip(batch, sizes, strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """Return the momentum buffers, the optimizer's only state."""
        return {"kernels": self.momenta, "vectors": self.velocities}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the buffers that `state` returned."""
        for name, buffer in self.state().items():
            buffer.copy_(state[name])


def orthogonalise(matrices: Tensor) -> Tensor:
    """Move the singular values of each matrix [N, R, C] towards 1 (Newton-Schulz iteration)."""
    a, b, c = POLYNOMIAL
    # the Frobenius norm bounds the singular values
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x: Tensor = matrices / norms.clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _matrix(kernel: Tensor) -> Tensor:
    """View a kernel as a matrix; shares memory if the kernel is channels-last."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
