"""The training loop: augmentation, a one-cycle learning rate, averaged weights.

    for epoch in train(task, images, labels, recipe):  # uint8 [N, H, W], uint8 [N]
        print(epoch.figures["training_loss"])          # epoch.weights: the averaged weights

The seed and the number of an epoch determine its random numbers, and the learning rate is a
function of the step. Weights and momentum buffers are therefore the only state between epochs: a
run that resumes from `Epoch.state` ends with the same bits as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.core.errors import UserError
from pipeline.core.task import Task
from pipeline.training.device import (
    choose_device,
    choose_precision,
    disable_tf32,
    make_deterministic,
    reuse_memory,
)
from pipeline.training.network import build_network, logits, normalise
from pipeline.training.optimizer import Optimizer
from pipeline.training.recipe import Recipe

Tensors = dict[str, Tensor]
Weights = tuple[Tensor, ...] | list[Tensor]
OnBatch = Callable[[float, float, int], None]


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or NaN: training diverged."""


def _ignore(loss: float, accuracy: float, count: int) -> None:
    """An `on_batch` that does nothing."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch. All tensors are copies on the CPU."""

    number: int  # from 1
    figures: dict[str, float]  # the epoch's row of the history
    weights: Tensors  # averaged weights, a state_dict of the network
    state: Tensors  # pass this to `train` to resume with the next epoch


def measure(task: Task, network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on uint8 images [N, H, W], computed in float32.

    Leaves the network in evaluation mode.
    """
    disable_tf32()
    network.eval()
    with torch.inference_mode():
        scores = torch.cat([logits(network, normalise(batch, task)) for batch in images.split(500)])
        loss = F.cross_entropy(scores, labels)
        return loss.item(), (scores.argmax(1) == labels).float().mean().item()


def moving_average(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """Return the update of the averaged weights.

    Over the first steps the decay is smaller than `decay`, so that the random initial weights
    soon drop out of the average.
    """

    def update(averaged: Weights, current: Weights, steps: Tensor | int) -> None:
        early = (1 + int(steps)) / (10 + int(steps))
        get_ema_multi_avg_fn(min(decay, early))(averaged, current, steps)

    return update


class Trainer:
    """The network, its averaged copy and the optimizer, with the data on the device.

    images: uint8 [N, H, W]; labels: uint8 [N]. Makes torch deterministic in this process. Raises
    ValueError if the device is not available or if the validation set leaves less than one batch
    of training images, and UserError as `build_network` does.
    """

    def __init__(self, task: Task, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
        self.task = task
        self.recipe = recipe
        self.device = choose_device(recipe.device)
        make_deterministic(self.device)
        self.precision = choose_precision(recipe.precision, self.device)
        self.size = len(images) - recipe.validation_size
        if self.size < recipe.batch_size:
            raise ValueError(
                f"{len(images):,} training images minus validation_size {recipe.validation_size} "
                f"do not fill one batch of batch_size {recipe.batch_size}"
            )
        self.images = images.to(self.device)
        self.labels = labels.to(self.device).long()
        self.steps_per_epoch = math.ceil(self.size / recipe.batch_size)

        torch.manual_seed(recipe.seed)
        network = build_network(task, recipe.dropout)
        self.memory_format = torch.channels_last  # channels first takes a third more time
        self.network = network.to(self.device).to(memory_format=self.memory_format)
        self.average = AveragedModel(
            self.network, multi_avg_fn=moving_average(recipe.weight_average), use_buffers=True
        )
        self.optimizer = self.build_optimizer()

    def build_optimizer(self) -> Optimizer:
        """Build Muon and SGD for the network."""
        return Optimizer(self.network, self.recipe)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Distort each uint8 image [N, H, W] at random: pixels 0..255, float [N, H, W]."""
        augmented: Tensor = self.task.call(
            "augmentation", "augment", images, generator, self.recipe
        )
        if augmented.shape != images.shape:
            raise UserError(
                f"{self.task.package}.augmentation: augment returns images of the shape "
                f"{list(augmented.shape)}, not {list(images.shape)}"
            )
        return augmented

    def step(self, batch: Tensor, generator: torch.Generator, rate: float) -> tuple[float, float]:
        """Take one step on the images with indices `batch`; return loss and accuracy before it."""
        inputs = normalise(self.augment(self.images[batch], generator), self.task)
        inputs = inputs.to(memory_format=self.memory_format)
        targets = self.labels[batch]
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=mixed):
            scores = logits(self.network, inputs).float()
        loss = F.cross_entropy(scores, targets, label_smoothing=self.recipe.label_smoothing)
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(f"the loss is {loss.item()} at learning rate {rate:.3g}")
        self.network.zero_grad()
        loss.backward()
        self.optimizer.step(rate)
        self.average.update_parameters(self.network)
        return loss.item(), (scores.argmax(1) == targets).float().mean().item()

    def epoch(self, number: int, on_batch: OnBatch) -> Epoch:
        """Train on every training image once, in random order; `number` counts from 1."""
        started = time.perf_counter()
        seed = self.recipe.seed * 10_007 + number
        torch.manual_seed(seed)  # dropout draws from the global generator
        generator = torch.Generator(self.device).manual_seed(seed)
        self.network.train()
        loss_sum = correct_sum = 0.0
        order = torch.randperm(self.size, generator=generator, device=self.device)
        for step, batch in enumerate(order.split(self.recipe.batch_size), start=1):
            progress = (number - 1 + step / self.steps_per_epoch) / self.recipe.epochs
            rate = self.recipe.learning_rate(progress)
            try:
                loss, accuracy = self.step(batch, generator, rate)
            except NonFiniteLossError as error:
                where = f"in epoch {number}, batch {step} of {self.steps_per_epoch}"
                raise NonFiniteLossError(f"{error}, {where}") from None
            loss_sum += loss * len(batch)
            correct_sum += accuracy * len(batch)
            on_batch(loss, accuracy, len(batch))
        figures: dict[str, float] = {
            "epoch": number,
            "learning_rate": rate,
            "training_loss": loss_sum / self.size,
            "training_accuracy": correct_sum / self.size,
        }
        if self.recipe.validation_size:
            held_out = self.images[self.size :], self.labels[self.size :]
            loss, accuracy = measure(self.task, self.average.module, *held_out)
            figures |= {"validation_loss": loss, "validation_accuracy": accuracy}
        seconds = time.perf_counter() - started
        figures |= {"seconds": seconds, "images_per_second": self.size / seconds}
        return Epoch(number, figures, _copy(self.average.module.state_dict()), self.state(number))

    def run(self, state: Tensors | None = None, on_batch: OnBatch = _ignore) -> Iterator[Epoch]:
        """Train from the start or from an `Epoch.state`, yielding each finished epoch.

        Calls `on_batch` with the loss, accuracy and number of images of each batch. Raises
        NonFiniteLossError if training diverges.
        """
        finished = self.restore(state) if state else 0
        for number in range(finished + 1, self.recipe.epochs + 1):
            yield self.epoch(number, on_batch)

    def state(self, number: int) -> Tensors:
        """Return all state that carries over from epoch `number` to the next."""
        return {
            "epoch": torch.tensor(number),
            **_copy(self.network.state_dict(), "network."),
            **_copy(self.average.state_dict(), "average."),
            **_copy(self.optimizer.state(), "momentum."),
        }

    def restore(self, state: Tensors) -> int:
        """Load what `state` returned, and return the number of its epoch."""
        self.network.load_state_dict(_with_prefix(state, "network."))
        self.average.load_state_dict(_with_prefix(state, "average."))
        self.optimizer.restore(_with_prefix(state, "momentum."))
        return int(state["epoch"])


def train(
    task: Task,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    state: Tensors | None = None,
    on_batch: OnBatch = _ignore,
) -> Iterator[Epoch]:
    """Create a Trainer and run it; for arguments and errors, see `Trainer` and `Trainer.run`."""
    reuse_memory()
    yield from Trainer(task, images, labels, recipe).run(state, on_batch)


def _copy(tensors: Tensors, prefix: str = "") -> Tensors:
    """Copy tensors to the CPU in contiguous form, as safetensors requires."""
    return {
        prefix + name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
