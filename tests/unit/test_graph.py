"""A recorded training step, a CUDA graph, trains with the same bits as the step itself."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pipeline.mnist import TASK
from pipeline.training import graph
from pipeline.training.trainer import Tensors, Trainer
from tests.unit.test_recipe import RECIPE

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def states(device: str, precision: Any, *, recorded: bool) -> list[Tensors]:
    """Everything that a training of two epochs, three steps each, carries over from each."""
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(256, (50, 28, 28), generator=draws, dtype=torch.uint8)
    labels = torch.randint(10, (50,), generator=draws)
    recipe = replace(RECIPE, device=device, precision=precision)
    trainer = Trainer(TASK, images, labels, recipe)
    if recorded:
        trainer.record()
    return [epoch.state for epoch in trainer.run()]


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_step_gives_the_same_bits(precision: str) -> None:
    eager = states("cuda", precision, recorded=False)
    recorded = states("cuda", precision, recorded=True)
    for number, (one, other) in enumerate(zip(eager, recorded, strict=True), start=1):
        changed = [name for name in one if not torch.equal(one[name], other[name])]
        assert changed == [], f"epoch {number}"


def test_recording_leaves_the_state_of_training_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for a recording takes steps, as recording does, but works on a CPU."""

    def record(step: graph.Step, batch_size: int, generator: torch.Generator) -> graph.Step:
        for _ in range(3):
            step(torch.zeros(batch_size, dtype=torch.int64))
        return step

    plain = states("cpu", "float32", recorded=False)
    monkeypatch.setattr(graph, "record", record)
    recorded = states("cpu", "float32", recorded=True)
    assert all(torch.equal(plain[-1][name], recorded[-1][name]) for name in plain[-1])
