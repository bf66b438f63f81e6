"""A training step as a CUDA graph: recorded once, then replayed with a single launch."""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], None]
WARM_UP = 3  # steps before recording, in which libraries choose and load their kernels


def record(step: Step, batch_size: int, generator: torch.Generator) -> Step:
    """Record `step` on a CUDA device; returns a function that replays it with the same results.

    `step` takes the indices of a batch, int64 [batch_size]. It must not read from the device, must
    update tensors in place, and may draw random numbers from `generator` and from the default one.
    Recording executes it WARM_UP times: the caller restores the state afterwards.
    """
    device = generator.device
    batch = torch.zeros(batch_size, dtype=torch.int64, device=device)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step(batch)
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        step(batch)

    def replay(indices: Tensor) -> None:
        batch.copy_(indices)
        graph.replay()

    return replay
