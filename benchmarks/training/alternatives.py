"""What `python -m benchmarks ablations` compares: our recipe, and variants with one change.

An ablation changes parameters or, where the recipe has none for an idea, uses another `Trainer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.training.effects import CHOSEN
from pipeline.core.task import Task
from pipeline.training.optimizer import Optimizer
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer


@dataclass(frozen=True)
class Ablation:
    """A change to the recipe: other parameters, or another trainer."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    trainer: type[Trainer] = Trainer


class OneOptimizer(Optimizer):
    """One torch optimizer for all parameters, with weight decay on kernels only."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, kind: type[torch.optim.Optimizer], **options: Any
    ) -> None:
        kernels = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim == 1]
        groups = [
            {"params": kernels, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = kind(groups, **options)

    def step(self, rate: Tensor) -> None:
        """Update the parameters with this learning rate, [1]."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate.item()
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Empty: these trainings do not resume."""
        return {}


class SGD(Trainer):
    """Stochastic gradient descent with Nesterov momentum."""

    def build_optimizer(self) -> Optimizer:
        """SGD."""
        momentum = self.recipe.momentum
        return OneOptimizer(
            self.network, self.recipe, torch.optim.SGD, momentum=momentum, nesterov=True
        )


class AdamW(Trainer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def build_optimizer(self) -> Optimizer:
        """AdamW."""
        return OneOptimizer(self.network, self.recipe, torch.optim.AdamW, betas=(0.9, 0.99))


@dataclass(frozen=True)
class LinearRecipe(Recipe):
    """The recipe with linear decay of the learning rate."""

    def learning_rate(self, progress: float) -> float:
        """Linear warm-up, then linear decay to 0."""
        rise = progress / self.warmup if self.warmup else 1.0
        return self.peak_learning_rate * min(rise, (1 - progress) / (1 - self.warmup))


class Linear(Trainer):
    """Linear instead of cosine decay of the learning rate."""

    def __init__(self, task: Task, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
        super().__init__(task, images, labels, LinearRecipe(**vars(recipe)))


class Elastic(Trainer):
    """Elastic distortion (Simard and others, 2003): a smooth random displacement field."""

    deviation = 0.02  # of the side, at the nodes of the field
    nodes = 5

    def augment(self, images: Tensor) -> Tensor:
        """Distort elastically, then as usual."""
        pixels = images.unsqueeze(1).float()
        size = (len(pixels), 2, self.nodes, self.nodes)
        nodes = (
            torch.randn(size, generator=self.generator, device=pixels.device) * self.deviation * 2
        )
        displacement = F.interpolate(nodes, pixels.shape[-2:], mode="bicubic", align_corners=True)
        identity = torch.eye(2, 3, device=pixels.device).expand(len(pixels), 2, 3)
        grid = F.affine_grid(identity, list(pixels.shape), align_corners=False)
        grid = grid + displacement.permute(0, 2, 3, 1)
        moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        return super().augment(moved.squeeze(1))


class Shear(Trainer):
    """Each image sheared by up to a fifth of its height."""

    def augment(self, images: Tensor) -> Tensor:
        """Shear, then distort as usual."""
        pixels = images.unsqueeze(1).float()
        shear = torch.rand(len(pixels), generator=self.generator, device=pixels.device) * 2 - 1
        matrix = torch.eye(2, 3, device=pixels.device).repeat(len(pixels), 1, 1)
        matrix[:, 0, 1] = shear * 0.2
        grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
        moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        return super().augment(moved.squeeze(1))


class Ramped(Trainer):
    """Distorts more and more of the images over the first half of training, then all."""

    seen = 0

    def augment(self, images: Tensor) -> Tensor:
        """Distort a random part of the images as usual."""
        self.seen += 1
        strength = min(1.0, self.seen / (self.steps_per_epoch * self.recipe.epochs / 2))
        distorted = super().augment(images)
        chosen = torch.rand(len(images), generator=self.generator, device=images.device) < strength
        return torch.where(chosen[:, None, None], distorted, images.float())


class Cropped(Trainer):
    """The middle 24 x 24 pixels alone in the first 60 % of the steps, then all of them."""

    def augment(self, images: Tensor) -> Tensor:
        """Distort as usual, then cut off a border; the last pooling covers what is left."""
        early = self.schedule.position.item() < 0.6 * len(self.schedule.rates)
        _pool_over(self.network, 2 if early else 4)
        distorted = super().augment(images)
        return distorted[:, 2:-2, 2:-2] if early else distorted

    def averaged_network(self) -> nn.Sequential:
        """The network for whole images."""
        network = super().averaged_network()
        _pool_over(network, 4)
        return network


def _pool_over(network: nn.Sequential, side: int) -> None:
    pool = network[-1]
    assert isinstance(pool, nn.AvgPool2d)
    pool.kernel_size = side


class Orthogonal(Trainer):
    """Orthogonal initialisation of kernels (Saxe and others, 2014)."""

    def build_optimizer(self) -> Optimizer:
        """Initialise the kernels, then build the usual optimizer."""
        for parameter in self.network.parameters():
            if parameter.ndim > 1:
                kernel = nn.init.orthogonal_(torch.empty(parameter.shape), gain=2**0.5)
                parameter.data.copy_(kernel)
        return super().build_optimizer()


OF_256 = {"batch_size": 256, "weight_average": 0.998}  # averages over as many images as at 512
ABLATIONS = {
    CHOSEN: Ablation(),
    "SGD": Ablation(
        {
            "batch_size": 256,
            "peak_learning_rate": 0.2,
            "momentum": 0.9,
            "weight_decay": 0.0005,
            "weight_average": 0.998,
        },
        SGD,
    ),
    "AdamW": Ablation({"peak_learning_rate": 0.01}, AdamW),
    "peak learning rate 0.005": Ablation({"peak_learning_rate": 0.005}),
    "peak learning rate 0.02": Ablation({"peak_learning_rate": 0.02}),
    "linear decay": Ablation({}, Linear),
    "warm-up 0.1": Ablation({"warmup": 0.1}),
    "batches of 256": Ablation(OF_256),
    "batches of 1024": Ablation({"batch_size": 1024, "weight_average": 0.992}),
    "no weight decay": Ablation({"weight_decay": 0.0}),
    "weight decay 0.1": Ablation({"weight_decay": 0.1}),
    "no weight averaging": Ablation({"weight_average": 0.0}),
    "label smoothing 0.05": Ablation({"label_smoothing": 0.05}),
    "the original's dropout": Ablation({"dropout": (0.02, 0.02, 0.02, 0.01)}),
    "no rotation, shift, scale": Ablation({"rotation": 0.0, "shift": 0.0, "scale": 0.0}),
    "less rotation, shift, scale": Ablation({"rotation": 8.0, "shift": 0.056, "scale": 0.084}),
    "more rotation, shift, scale": Ablation({"rotation": 17.0, "shift": 0.11, "scale": 0.17}),
    "strokes unchanged": Ablation({"thicken": 0.0, "thin": 0.0}),
    "no noise": Ablation({"noise": 0.0}),
    "with shear": Ablation({}, Shear),
    "with elastic distortion": Ablation({}, Elastic),
    "augmentation ramped up": Ablation({}, Ramped),
    "orthogonal initialisation": Ablation({}, Orthogonal),
    "cropped in the first steps": Ablation({}, Cropped),
    "batches of 256, warm-up 0.1": Ablation({**OF_256, "warmup": 0.1}),
    "batches of 256, warm-up 0.1, label smoothing 0.05": Ablation(
        {**OF_256, "warmup": 0.1, "label_smoothing": 0.05}
    ),
}
