"""A recorded training step, a CUDA graph, trains with the same bits as the step itself."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.core.task import Task
from pipeline.mnist import TASK
from pipeline.training import graph
from pipeline.training.trainer import Tensors, Trainer
from tests.unit.test_recipe import RECIPE

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Reads(TorchDispatchMode):
    """Collects the operators that hand values or sizes to the host, which a recording cannot."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = operator.overloadpacket.__name__
        if name in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"):
            self.names.append(name)
        return operator(*args, **(kwargs or {}))


def make_trainer(device: str = "cpu", precision: Any = "float32") -> Trainer:
    """A training of two epochs, three steps each, on random images."""
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(256, (50, 28, 28), generator=draws, dtype=torch.uint8)
    labels = torch.randint(10, (50,), generator=draws)
    return Trainer(TASK, images, labels, replace(RECIPE, device=device, precision=precision))


def states(trainer: Trainer, *, recorded: bool) -> list[Tensors]:
    """Everything that a training carries over from each epoch."""
    if recorded:
        assert graph.record(trainer)
    return [trainer.epoch(number).state for number in range(1, trainer.recipe.epochs + 1)]


def draws_on_the_host(images: torch.Tensor, *_: Any) -> torch.Tensor:
    """An augmentation whose random numbers a recording would repeat."""
    return images.float() * random.random()


def reads_the_device(images: torch.Tensor, *_: Any) -> torch.Tensor:
    """An augmentation that cannot be recorded."""
    return images.float() * images.float().mean().item()


def with_augmentation(device: str, augment: Any, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A trainer whose task has this augmentation."""
    monkeypatch.setattr(Task, "call", lambda self, module, name, *args: augment(*args))
    return make_trainer(device)


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_step_gives_the_same_bits(precision: str) -> None:
    eager = states(make_trainer("cuda", precision), recorded=False)
    recorded = states(make_trainer("cuda", precision), recorded=True)
    for number, (one, other) in enumerate(zip(eager, recorded, strict=True), start=1):
        changed = [name for name in one if not torch.equal(one[name], other[name])]
        assert changed == [], f"epoch {number}"


@needs_cuda
def test_a_training_on_a_gpu_records_its_step() -> None:
    trainer = make_trainer("cuda")
    last = list(trainer.run())[-1].state
    assert isinstance(trainer.step, graph.Replay)
    expected = states(make_trainer("cuda"), recorded=False)[-1]
    assert all(torch.equal(last[name], expected[name]) for name in expected)


@needs_cuda
@pytest.mark.parametrize("augment", [draws_on_the_host, reads_the_device])
def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(
    augment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = with_augmentation("cuda", augment, monkeypatch)
    last = list(trainer.run())[-1].state
    assert not isinstance(trainer.step, graph.Replay)
    if augment is reads_the_device:
        eager = with_augmentation("cuda", augment, monkeypatch)
        expected = states(eager, recorded=False)[-1]
        assert all(torch.equal(last[name], expected[name]) for name in expected)


def test_a_step_reads_nothing_from_the_device() -> None:
    trainer = make_trainer()
    trainer.network.train()
    with Reads() as reads:
        trainer.step(torch.arange(16))
    assert reads.names == []


def test_recording_leaves_the_state_of_training_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for a recording takes steps, as recording does, but works on a CPU."""

    def recording(trainer: Trainer) -> Any:
        for _ in range(3):
            trainer.step(torch.zeros(trainer.recipe.batch_size, dtype=torch.int64))
        return trainer.step

    plain = states(make_trainer(), recorded=False)
    monkeypatch.setattr(graph, "_recording", recording)
    recorded = states(make_trainer(), recorded=True)
    assert all(torch.equal(plain[-1][name], recorded[-1][name]) for name in plain[-1])


@pytest.mark.parametrize("waits", [False, True])
def test_a_recording_with_other_bits_is_not_used(
    monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    """A real recording repeats what was drawn on the host: here, a step of another batch."""
    trainer = make_trainer()
    step = trainer.step
    other = None if waits else lambda batch: step(torch.zeros_like(batch))
    monkeypatch.setattr(graph, "_recording", lambda trainer: other)
    assert not graph.record(trainer)
    assert trainer.step == step
    expected = states(make_trainer(), recorded=False)[-1]
    found = states(trainer, recorded=False)[-1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
