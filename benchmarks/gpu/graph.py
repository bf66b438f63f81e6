"""A training step as a CUDA graph: recorded once, then replayed with a single launch."""

import torch
from torch import Tensor

from pipeline.training.trainer import Trainer


def record(trainer: Trainer) -> None:
    """Replace the trainer's step by a recording of it, which gives the same bits; only on CUDA.

    A step can be recorded because it reads nothing from the device and updates tensors in place.
    Its random numbers come from the trainer's generator and the default one; a recording advances
    both. The state of training stays as it is, although recording takes a step.
    """
    state = trainer.state(0)
    trainer.network.train()
    trainer.schedule.start_epoch(1)  # after the last epoch, the tables end
    replay = _recording(trainer)
    trainer.restore(state)
    trainer.step = replay  # type: ignore[method-assign]


def _recording(trainer: Trainer) -> "Replay":
    with torch.cuda.device(trainer.device):
        size = trainer.recipe.batch_size
        batch = torch.zeros(size, dtype=torch.int64, device=trainer.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            trainer.step(batch)  # libraries choose and load kernels, which a recording cannot do
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(trainer.generator)
        with torch.cuda.graph(graph, stream=stream):
            trainer.step(batch)
    return Replay(graph, batch)


class Replay:
    """A recorded step: takes the indices of a batch, as the step does."""

    def __init__(self, graph: torch.cuda.CUDAGraph, batch: Tensor) -> None:
        self.graph = graph
        self.batch = batch  # the memory that the recorded step reads its indices from

    def __call__(self, batch: Tensor) -> None:
        """Take a step."""
        self.batch.copy_(batch)
        self.graph.replay()
