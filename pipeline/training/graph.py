"""A training step as a CUDA graph: recorded once, then replayed with a single launch.

A step of a small network is many small kernels: the host needs more time to launch them than a fast
GPU to compute them.
"""

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # it imports this module
    from pipeline.training.trainer import Tensors, Trainer

LOG = logging.getLogger(__name__)
COMPARED = 2  # steps


def record(trainer: "Trainer") -> bool:
    """Replace the trainer's step by a recording of it, which gives the same bits; only on CUDA.

    Returns whether it did. A step cannot be recorded if the task's augmentation waits for the
    device or copies from the host. The recording is not used if it gives other bits, because the
    augmentation draws random numbers on the host: a recording would repeat them. Both are logged
    as a warning. The state of training stays as it is.
    """
    state = trainer.state(0)
    trainer.network.train()
    trainer.schedule.start_epoch(1)  # after the last epoch, the tables end
    try:
        replay = _recording(trainer)
        if replay is None:
            return False
        eager, replayed = (_some_steps(trainer, state, step) for step in (trainer.step, replay))
    finally:
        trainer.restore(state)
    if not all(torch.equal(eager[name], replayed[name]) for name in eager):
        LOG.warning(
            "a recorded training step gives other weights: is every random number of the "
            "augmentation drawn from its generator? Training goes on with steps that are not "
            "recorded, which are slower"
        )
        return False
    trainer.step = replay  # type: ignore[method-assign]
    return True


def _recording(trainer: "Trainer") -> "Replay | None":
    with torch.cuda.device(trainer.device):
        size = trainer.recipe.batch_size
        batch = torch.zeros(size, dtype=torch.int64, device=trainer.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            trainer.step(batch)  # libraries choose and load kernels, which a recording cannot do
            waiting = _waiting(trainer, batch)
        torch.cuda.current_stream().wait_stream(stream)
        if waiting:
            LOG.warning(
                "the training step waits for the device (%s), so it is not recorded, which makes "
                "it slower",
                waiting,
            )
            return None
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(trainer.generator)
        with torch.cuda.graph(graph, stream=stream):
            trainer.step(batch)
    return Replay(graph, batch)


def _waiting(trainer: "Trainer", batch: Tensor) -> str | None:
    """What in a step waits for the device; torch recovers badly from a recording that fails."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings(action="ignore"):  # that this mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        trainer.step(batch)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return None


def _some_steps(trainer: "Trainer", state: "Tensors", step: Callable[[Tensor], None]) -> "Tensors":
    """The state of training after the first steps of an epoch."""
    trainer.restore(state)
    trainer.schedule.start_epoch(1)
    torch.manual_seed(1)
    trainer.generator.manual_seed(1)
    order = torch.randperm(trainer.size, generator=trainer.generator, device=trainer.device)
    for batch in order.split(trainer.recipe.batch_size)[: min(COMPARED, trainer.steps_per_epoch)]:
        step(batch)
    return trainer.state(0)


class Replay:
    """A recorded step: takes the indices of a batch, as the step does."""

    def __init__(self, graph: torch.cuda.CUDAGraph, batch: Tensor) -> None:
        self.graph = graph
        self.batch = batch  # the memory that the recorded step reads its indices from

    def __call__(self, batch: Tensor) -> None:
        """Take a step."""
        self.batch.copy_(batch)
        self.graph.replay()
