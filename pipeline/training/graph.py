"""A training step as a CUDA graph: recorded once, then replayed with a single launch."""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], None]


def record(step: Step, batch_size: int, generator: torch.Generator) -> Step:
    """Record `step` on a CUDA device; returns a function that replays it with the same results.

    `step` takes the indices of a batch, int64 [batch_size]. It must not read from the device, must
    update tensors in place, and may draw random numbers from `generator` and from the default one.
    Recording executes it once: the caller restores the state afterwards.
    """
    with torch.cuda.device(generator.device):
        batch = torch.zeros(batch_size, dtype=torch.int64, device=generator.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step(batch)  # libraries choose and load their kernels, which a recording cannot do
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            step(batch)

    def replay(indices: Tensor) -> None:
        batch.copy_(indices)
        graph.replay()

    return replay
