"""python -m benchmarks step: where a training step spends its time, and what each choice saves.

Times our training steps as they are and with one thing changed, each in a separate process, in
turn. Profiles the unchanged step and compares it with a floor: its arithmetic at the rate at which
this machine multiplies large matrices, in the precision of training. Takes about 3 minutes on two
cores with bfloat16, three times that without. Uses no GPU.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.busy import busy_core
from benchmarks.models import read_set, task_of
from benchmarks.report import write_report
from benchmarks.tables import median_and_range, table
from benchmarks.training.processes import process_for_each
from benchmarks.training.recipes import load_recipe
from pipeline.core.workspace import Workspace
from pipeline.training.device import reuse_memory
from pipeline.training.trainer import Trainer

STEPS = 20  # timed at once
WARM_UP = 5  # slower steps before the timed ones
DROPOUT = (0.02, 0.02, 0.02, 0.01)  # the original's


def _filled_memory(trainer: Trainer) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


def _fresh_relu(trainer: Trainer) -> None:
    for layer in trainer.network:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False


def _channels_first(trainer: Trainer) -> None:
    # Muon keeps updating the old memory of the kernels: the same cost, without effect
    trainer.memory_format = torch.contiguous_format
    trainer.network.to(memory_format=trainer.memory_format)


def _compiled(trainer: Trainer) -> None:
    trainer.layers.compile()


def _relu_before_pooling(trainer: Trainer) -> None:
    trainer.layers = trainer.network


def _not_distorted(trainer: Trainer) -> None:
    trainer.augment = lambda images: images.float()  # type: ignore[method-assign]


def _one_thread(trainer: Trainer) -> None:
    torch.set_num_threads(1)


Change = Callable[[Trainer], None]
UNCHANGED, WITHOUT_REUSE = "unchanged", "memory returned to the system"
BUSY, BUSY_SPINNING = "while another process is busy", "... and threads spin longer"
# threads of OpenMP spin this often before they sleep, unless the pipeline sets it otherwise
ENVIRONMENTS = {BUSY_SPINNING: {"GOMP_SPINCOUNT": "300000"}}
VARIANTS: dict[str, tuple[dict[str, Any], Change | None]] = {
    UNCHANGED: ({}, None),
    WITHOUT_REUSE: ({}, None),
    "new tensors filled with NaN": ({}, _filled_memory),
    "ReLU not in place": ({}, _fresh_relu),
    "ReLU before max-pooling": ({}, _relu_before_pooling),
    "channels first": ({}, _channels_first),
    "float32": ({"precision": "float32"}, None),
    "float32, channels first": ({"precision": "float32"}, _channels_first),
    "with the original's dropout": ({"dropout": DROPOUT}, None),
    "without augmentation": ({}, _not_distorted),
    "compiled (torch.compile)": ({}, _compiled),
    "batches of 64": ({"batch_size": 64}, None),
    "batches of 128": ({"batch_size": 128}, None),
    "batches of 256": ({"batch_size": 256}, None),
    "one thread": ({}, _one_thread),
    BUSY: ({}, None),
    BUSY_SPINNING: ({}, None),
}


class Runner:
    """Runs in the process of one variant."""

    trainer: Trainer

    @classmethod
    def start(cls, variant: str, workspace: Workspace) -> None:
        """Set up the training and run the warm-up steps."""
        changes, change = VARIANTS[variant]
        if variant != WITHOUT_REUSE:
            reuse_memory()
        recipe = load_recipe(workspace, "release", device="cpu", **changes)
        cls.trainer = Trainer(task_of(workspace), *read_set(workspace.training_set), recipe)
        if change:
            change(cls.trainer)
        cls.trainer.network.train()
        cls.steps(WARM_UP)

    @classmethod
    def steps(cls, count: int = STEPS) -> float:
        """Seconds for `count` steps, scaled to an epoch."""
        trainer = cls.trainer
        size = trainer.recipe.batch_size
        batches = [
            torch.randint(trainer.size, (size,), generator=trainer.generator) for _ in range(count)
        ]
        trainer.schedule.start_epoch(1)  # with small learning rates
        started = time.perf_counter()
        for batch in batches:
            trainer.step(batch)
        return (time.perf_counter() - started) / (count * size) * trainer.size

    @classmethod
    def operators(cls) -> list[tuple[str, float]]:
        """The operators and the fraction of a step that each takes itself, largest first."""
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            cls.steps()
        times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        whole = sum(times.values())
        shares = [(name, taken / whole) for name, taken in times.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    @classmethod
    def arithmetic(cls) -> float:
        """Floating-point operations of an epoch's convolutions, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            cls.steps(1)
        counts = counter.get_flop_counts()["Global"].items()
        of_step = sum(count for operator, count in counts if "convolution" in str(operator))
        return float(of_step) / cls.trainer.recipe.batch_size * cls.trainer.size

    @classmethod
    def precision(cls) -> str:
        """The precision of training."""
        return str(cls.trainer.precision).removeprefix("torch.")

    @classmethod
    def matrix_rate(cls, side: int = 4096) -> float:
        """Operations per second of matrix products in this precision; the best of five."""
        left, right = torch.randn(2, side, side).to(cls.trainer.precision)
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            left @ right
            best = min(best, time.perf_counter() - started)
        return 2 * side**3 / best


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--rounds", type=int, default=7)


def main(workspace: Workspace, rounds: int) -> None:
    """Time the variants in turn and write the report."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    start = Runner.start
    with process_for_each(VARIANTS, start, workspace, environments=ENVIRONMENTS) as processes:
        for _ in tqdm(range(rounds), unit=" rounds"):
            for name, process in processes.items():
                with busy_core() if name in (BUSY, BUSY_SPINNING) else nullcontext():
                    seconds[name].append(process.submit(Runner.steps).result())
        unchanged = processes[UNCHANGED]
        rate = unchanged.submit(Runner.matrix_rate).result()
        precision = unchanged.submit(Runner.precision).result()
        arithmetic = unchanged.submit(Runner.arithmetic).result()
        operators = unchanged.submit(Runner.operators).result()

    base = median(seconds[UNCHANGED])
    floor = arithmetic / rate
    variants = table(
        ["recipe `release`", "s per epoch (range)", "relative time"],
        [
            [name, median_and_range(times, ".1f"), f"{median(times) / base:.2f}"]
            for name, times in seconds.items()
        ],
    )
    profiled = table(
        ["operator", "share of time"],
        [[f"`{name}`", f"{share:.0%}"] for name, share in operators[:8]],
    )
    text = f"""{variants}

Medians of {rounds} rounds of {STEPS} steps, in turn.

**The floor.** The convolutions of an epoch, forward and backward, take {arithmetic / 1e12:.2f} ·
10¹² operations. This machine multiplies {precision} matrices at {rate / 1e9:.0f} · 10⁹ operations
per second, which gives {floor:.1f} s per epoch; training takes {base / floor:.1f} times that.

{profiled}"""
    result = {
        "seconds_an_epoch": seconds,
        "operations_an_epoch": arithmetic,
        "precision": precision,
        "matrix_operations_per_second": rate,
        "floor_seconds": floor,
        "times_the_floor": base / floor,
        "operators": dict(operators[:20]),
    }
    write_report(workspace, "step", result, text, [])
