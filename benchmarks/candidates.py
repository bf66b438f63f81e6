"""The changes to the recipe that `python -m benchmarks.recipe` compares, each with its reason.

A candidate is a set of changed parameters, and where the recipe has no parameter for the idea, a
`Trainer` of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.mnist.training import Trainer


@dataclass(frozen=True)
class Candidate:
    """A change to the recipe: parameters that differ, and the trainer that carries it out."""

    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    trainer: type[Trainer] = Trainer


class AdamW(Trainer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def build_optimizer(self) -> torch.optim.Optimizer:
        kernels = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        return torch.optim.AdamW(
            [
                {"params": kernels, "weight_decay": self.recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.99),
            foreach=True,
        )

    def state(self, number: int) -> dict[str, Tensor]:
        return {}


class Muon(Trainer):
    """Orthogonalised momentum for kernels (Jordan, 2024), SGD for the rest at `others_rate`."""

    others_rate = 5.0  # times the learning rate of the kernels

    def build_optimizer(self) -> torch.optim.Optimizer:
        return MuonWithSGD(self.network, self.recipe.weight_decay, self.others_rate)


class MuonWithSGD(torch.optim.Optimizer):
    """torch's Muon takes matrices: it gets each 3 x 3 kernel as one, in the memory of its own."""

    def __init__(self, network: nn.Module, weight_decay: float, others_rate: float) -> None:
        self.kernels = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim == 1]
        # kernels are channels-last: this view shares their memory
        self.matrices = [
            nn.Parameter(p.data.permute(0, 2, 3, 1).view(p.shape[0], -1)) for p in self.kernels
        ]
        self.muon = torch.optim.Muon(
            self.matrices, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.others_rate = others_rate
        self.sgd = torch.optim.SGD(others, lr=0.0, momentum=0.9, nesterov=True)
        super().__init__([*self.kernels, *others], {"lr": 0.0})

    def step(self, closure: Any = None) -> Any:
        rate = self.param_groups[0]["lr"]
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            assert kernel.grad is not None
            matrix.grad = kernel.grad.permute(0, 2, 3, 1).reshape(matrix.shape)
        self.muon.param_groups[0]["lr"] = rate
        self.sgd.param_groups[0]["lr"] = rate * self.others_rate
        self.muon.step()
        self.sgd.step()


class Elastic(Trainer):
    """Elastic distortion (Simard and others, 2003): a smooth random field of moves."""

    strength = 0.06  # of the side: standard deviation of the moves at the nodes of the field
    nodes = 6

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        inputs = super().augment(inputs, generator)
        size = (len(inputs), 2, self.nodes, self.nodes)
        field_ = torch.randn(size, generator=generator, device=inputs.device) * self.strength * 2
        moves = F.interpolate(field_, inputs.shape[-2:], mode="bicubic", align_corners=True)
        still = torch.eye(2, 3, device=inputs.device).expand(len(inputs), 2, 3)
        grid = F.affine_grid(still, list(inputs.shape), align_corners=False)
        grid = grid + moves.permute(0, 2, 3, 1)
        return F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


class ElasticWeak(Elastic):
    """Half as strong."""

    strength = 0.03


class Shear(Trainer):
    """Each image sheared by up to `largest` of its height."""

    largest = 0.2

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        inputs = super().augment(inputs, generator)
        shear = torch.rand(len(inputs), generator=generator, device=inputs.device) * 2 - 1
        matrix = torch.eye(2, 3, device=inputs.device).repeat(len(inputs), 1, 1)
        matrix[:, 0, 1] = shear * self.largest
        grid = F.affine_grid(matrix, list(inputs.shape), align_corners=False)
        return F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


class Stroke(Trainer):
    """Strokes made thicker or thinner: mixed with the largest or smallest of the neighbours."""

    largest = 0.6

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        inputs = super().augment(inputs, generator)
        draws = torch.rand(len(inputs), 1, 1, 1, generator=generator, device=inputs.device)
        amount = (draws * 2 - 1) * self.largest
        thick = F.max_pool2d(inputs, 3, stride=1, padding=1)
        thin = -F.max_pool2d(-inputs, 3, stride=1, padding=1)
        return inputs + amount.abs() * (torch.where(amount > 0, thick, thin) - inputs)


class Noise(Trainer):
    """Gaussian noise of a random strength, up to `largest` of the range of pixels."""

    largest = 0.2

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        inputs = super().augment(inputs, generator)
        draws = torch.rand(len(inputs), 1, 1, 1, generator=generator, device=inputs.device)
        noise = torch.empty_like(inputs).normal_(generator=generator)
        return inputs + noise * draws * self.largest / 0.3081


class Fading(Trainer):
    """Augmentation that fades: full at first, `last` of it at the end of training."""

    last = 0.3

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        done = self.optimizer.param_groups[0]["lr"] / self.recipe.peak_learning_rate
        strength = self.last + (1 - self.last) * min(1.0, done)
        from pipeline.mnist.augmentation import random_affine

        return random_affine(
            inputs,
            generator,
            rotation=self.recipe.rotation * strength,
            shift=self.recipe.shift * strength,
            scale=self.recipe.scale * strength,
        )


class Growing(Trainer):
    """Augmentation that grows from nothing to full over the first half of training."""

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        from pipeline.mnist.augmentation import random_affine

        self.seen = getattr(self, "seen", 0) + 1
        strength = min(1.0, self.seen / (self.steps_per_epoch * self.recipe.epochs / 2))
        return random_affine(
            inputs,
            generator,
            rotation=self.recipe.rotation * strength,
            shift=self.recipe.shift * strength,
            scale=self.recipe.scale * strength,
        )


class Orthogonal(Trainer):
    """Kernels that start orthogonal (Saxe and others, 2014)."""

    def build_optimizer(self) -> torch.optim.Optimizer:
        for parameter in self.network.parameters():
            if parameter.ndim > 1:
                parameter.data.copy_(
                    nn.init.orthogonal_(torch.empty(parameter.shape), gain=math.sqrt(2))
                )
        self.average.module.load_state_dict(self.network.state_dict())
        return super().build_optimizer()


class KaimingNormal(Trainer):
    """Kernels that start normal with the variance 2 / fan-in (He and others, 2015)."""

    def build_optimizer(self) -> torch.optim.Optimizer:
        for parameter in self.network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter.data, nonlinearity="relu")
        self.average.module.load_state_dict(self.network.state_dict())
        return super().build_optimizer()


# the first candidate: what the search started from
BASE: dict[str, Any] = {
    "batch_size": 256,
    "peak_learning_rate": 0.2,
    "warmup": 0.2,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "weight_average": 0.998,
    "label_smoothing": 0.0,
    "dropout": (0.0, 0.0, 0.0, 0.0),
    "rotation": 12.0,
    "shift": 0.08,
    "scale": 0.12,
}

CANDIDATES = {
    "as it was": Candidate("what the search started from"),
    "label smoothing 0.05": Candidate("", {"label_smoothing": 0.05}),
    "label smoothing 0.1": Candidate("", {"label_smoothing": 0.1}),
    "weight decay 0.002": Candidate("", {"weight_decay": 0.002}),
    "weight decay 0.0001": Candidate("", {"weight_decay": 0.0001}),
    "average 0.99": Candidate("", {"weight_average": 0.99}),
    "no average": Candidate("", {"weight_average": 0.0}),
    "peak 0.1": Candidate("", {"peak_learning_rate": 0.1}),
    "peak 0.4": Candidate("", {"peak_learning_rate": 0.4}),
    "batch 128": Candidate("", {"batch_size": 128}),
    "batch 512": Candidate("", {"batch_size": 512, "weight_average": 0.996}),
    "dropout of the original": Candidate("", {"dropout": (0.02, 0.02, 0.02, 0.01)}),
    "no augmentation": Candidate("", {"rotation": 0.0, "shift": 0.0, "scale": 0.0}),
    "affine x 0.7": Candidate("", {"rotation": 8.0, "shift": 0.056, "scale": 0.084}),
    "affine x 1.4": Candidate("", {"rotation": 17.0, "shift": 0.11, "scale": 0.17}),
    "shear": Candidate("", trainer=Shear),
    "elastic": Candidate("", trainer=Elastic),
    "elastic, weak": Candidate("", trainer=ElasticWeak),
    "strokes": Candidate("", trainer=Stroke),
    "noise": Candidate("", trainer=Noise),
    "fading": Candidate("", trainer=Fading),
    "growing": Candidate("", trainer=Growing),
    "orthogonal start": Candidate("", trainer=Orthogonal),
    "Kaiming start": Candidate("", trainer=KaimingNormal),
    "AdamW": Candidate("", {"peak_learning_rate": 0.01, "weight_decay": 0.01}, trainer=AdamW),
    "Muon": Candidate("", {"peak_learning_rate": 0.02, "weight_decay": 0.01}, trainer=Muon),
}
