"""The training loop: augmentation, a one-cycle learning rate, averaged weights.

    for epoch in train(task, images, labels, recipe):  # uint8 [N, H, W], uint8 [N]
        print(epoch.figures["training_loss"])          # epoch.weights: the averaged weights

The seed and the number of an epoch determine its random numbers, and the learning rate is a
function of the step. Weights and momentum buffers are therefore the only state between epochs: a
run that resumes from `Epoch.state` ends with the same bits as an uninterrupted one.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.core.task import Task
from pipeline.training.average import WeightAverage
from pipeline.training.device import (
    choose_device,
    choose_precision,
    make_deterministic,
    reuse_memory,
)
from pipeline.training.graph import record
from pipeline.training.measuring import measure
from pipeline.training.network import build_network, logits, normalise, pools_first
from pipeline.training.optimizer import Optimizer
from pipeline.training.recipe import Recipe
from pipeline.training.schedule import Schedule
from pipeline.training.totals import Totals

Tensors = dict[str, Tensor]
OnProgress = Callable[[int, float, float], None]
Build = Callable[[Task, Sequence[float]], nn.Sequential]


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or NaN: training diverged."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch. All tensors are copies on the CPU."""

    number: int  # from 1
    figures: dict[str, float]  # the epoch's row of the history
    weights: Tensors  # averaged weights, a state_dict of the network
    state: Tensors  # pass this to `train` to resume with the next epoch


class Trainer:
    """The network, its averaged weights and the optimizer, with the data on the device.

    images: uint8 [N, H, W]; labels: uint8 [N]. `build` returns the network for a task and the rates
    of its Dropout layers, by default the task's own. Makes torch deterministic in this process.
    Raises ValueError if the device is not available or if the validation set leaves less than one
    batch of training images, and UserError as `build_network` does.
    """

    progress_interval = 0.5  # seconds; reading progress more often would slow down a GPU

    def __init__(
        self,
        task: Task,
        images: Tensor,
        labels: Tensor,
        recipe: Recipe,
        build: Build = build_network,
    ) -> None:
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
        self.steps_per_epoch = self.size // recipe.batch_size
        self.images_per_epoch = self.steps_per_epoch * recipe.batch_size

        torch.manual_seed(recipe.seed)
        network = build(task, recipe.dropout)
        self.memory_format = torch.channels_last  # channels first takes a third more time
        self.network = network.to(self.device).to(memory_format=self.memory_format)
        self.layers = pools_first(self.network)  # the same, as a step computes it
        self.optimizer = self.build_optimizer()
        self.average = WeightAverage(self.network)
        self.schedule = Schedule(recipe, self.steps_per_epoch, self.device)
        self.totals = Totals(self.device)
        self.generator = torch.Generator(self.device)

    def build_optimizer(self) -> Optimizer:
        """Build Muon and SGD for the network."""
        return Optimizer(self.network, self.recipe)

    def augment(self, images: Tensor) -> Tensor:
        """Distort each uint8 image [N, H, W] at random: pixels 0..255, float [N, H, W]."""
        augmented: Tensor = self.task.call(
            "augmentation", "augment", images, self.generator, self.recipe
        )
        if augmented.shape != images.shape:
            raise UserError(
                f"{self.task.package}.augmentation: augment returns images of the shape "
                f"{list(augmented.shape)}, not {list(images.shape)}"
            )
        return augmented

    def step(self, batch: Tensor) -> None:
        """Take one step on the images with indices `batch`, int64 [batch_size].

        Reads nothing from the device, so that a GPU never waits for the host.
        """
        inputs = normalise(self.augment(self.images.index_select(0, batch)), self.task)
        inputs = inputs.to(memory_format=self.memory_format)
        targets = self.labels.index_select(0, batch)
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=mixed, cache_enabled=False):
            scores = logits(self.layers, inputs).float()
        loss = F.cross_entropy(scores, targets, label_smoothing=self.recipe.label_smoothing)
        self.network.zero_grad()
        loss.backward()
        rate, share = self.schedule.next()
        self.optimizer.step(rate)
        self.average.update(share)
        self.totals.add(loss, scores, targets)

    def epoch(self, number: int, on_progress: OnProgress = lambda *_: None) -> Epoch:
        """Train once on the training images in random order; `number` counts from 1.

        All batches have the same size: images that do not fill a batch are left out, others in
        each epoch. For `on_progress` and errors, see `run`.
        """
        started = shown = time.perf_counter()
        seed = self.recipe.seed * 10_007 + number
        torch.manual_seed(seed)  # dropout draws from the global generator
        self.generator.manual_seed(seed)
        self.network.train()
        self.schedule.start_epoch(number)
        self.totals.clear()
        order = torch.randperm(self.size, generator=self.generator, device=self.device)
        batches = order.split(self.recipe.batch_size)[: self.steps_per_epoch]
        for step, batch in enumerate(batches, start=1):
            self.step(batch)
            if time.perf_counter() - shown >= self.progress_interval or step == len(batches):
                loss, accuracy = self.read_totals(number)
                on_progress(step * self.recipe.batch_size, loss, accuracy)
                shown = time.perf_counter()
        figures: dict[str, float] = {
            "epoch": number,
            "learning_rate": self.recipe.learning_rate(number / self.recipe.epochs),
            "training_loss": loss,
            "training_accuracy": accuracy,
        }
        if self.recipe.validation_size:
            held_out = self.images[self.size :], self.labels[self.size :]
            loss, accuracy = measure(self.task, self.averaged_network(), *held_out)
            figures |= {"validation_loss": loss, "validation_accuracy": accuracy}
        seconds = time.perf_counter() - started
        figures |= {"seconds": seconds, "images_per_second": self.images_per_epoch / seconds}
        return Epoch(number, figures, _copy(self.average.state_dict()), self.state(number))

    def read_totals(self, epoch: int) -> tuple[float, float]:
        """Return mean loss and accuracy of this epoch so far. Raises NonFiniteLossError."""
        if step := self.totals.failed_step():
            rate = self.schedule.rates[(epoch - 1) * self.steps_per_epoch + step - 1].item()
            raise NonFiniteLossError(
                f"the loss is not a finite number at learning rate {rate:.3g}, in epoch {epoch}, "
                f"batch {step} of {self.steps_per_epoch}"
            )
        return self.totals.read()

    def averaged_network(self) -> nn.Sequential:
        """Return a copy of the network with the averaged weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average.state_dict())
        return network

    def run(
        self, state: Tensors | None = None, on_progress: OnProgress = lambda *_: None
    ) -> Iterator[Epoch]:
        """Train from the start or from an `Epoch.state`, yielding each finished epoch.

        Calls `on_progress` about twice a second and at the end of each epoch, with the number of
        its images so far and their mean loss and accuracy. Raises NonFiniteLossError, then or at
        the end, if training has diverged. On a GPU, steps are recorded (`graph`).
        """
        finished = self.restore(state) if state else 0
        if self.device.type == "cuda":
            record(self)
        for number in range(finished + 1, self.recipe.epochs + 1):
            yield self.epoch(number, on_progress)

    def state(self, number: int) -> Tensors:
        """Return all state that carries over from epoch `number` to the next."""
        return {
            "epoch": torch.tensor(number),
            "average": self.average.values.cpu().clone(),
            **_copy(self.network.state_dict(), "network."),
            **_copy(self.optimizer.state(), "momentum."),
        }

    def restore(self, state: Tensors) -> int:
        """Load what `state` returned, and return the number of its epoch."""
        self.network.load_state_dict(_with_prefix(state, "network."))
        self.average.values.copy_(state["average"])
        self.optimizer.restore(_with_prefix(state, "momentum."))
        return int(state["epoch"])


def train(
    task: Task,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    state: Tensors | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Iterator[Epoch]:
    """Create a Trainer and run it; for arguments and errors, see `Trainer` and `Trainer.run`."""
    reuse_memory()
    yield from Trainer(task, images, labels, recipe).run(state, on_progress)


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
