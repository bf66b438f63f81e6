"""Trainings of `python -m benchmarks.gpu` in a separate process, which reports lines of JSON.

    python -m benchmarks.gpu.worker '{"folder": "artifacts/gpu", "recipe": "fast"}'

This module and everything that it uses import only torch, NumPy, safetensors and the standard
library.
"""

import hashlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.gpu.device import describe_machine, finish_work, float32_error, inference_rates
from benchmarks.gpu.jobs import Job
from benchmarks.gpu.pack import read_packed
from pipeline.core.files import sha256
from pipeline.core.task import Task, load_task
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import choose_device, choose_precision, reuse_memory
from pipeline.training.graph import record
from pipeline.training.measuring import measure
from pipeline.training.network import build_network
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer

LabelledTensors = tuple[Tensor, Tensor]  # images, uint8 [N, H, W], and labels, uint8 [N]


def run(job: Job) -> None:
    """Train with each seed, report each epoch, and measure on the test set after the last one."""
    packed = read_packed(Path(job.folder))
    recipe = Recipe(**{**packed["recipes"][job.recipe], **job.changes})
    task = load_task(packed["task"], Path())
    device = choose_device(recipe.device)
    training_set, test_set = (
        (images.to(device), labels.to(device))
        for images, labels in read_sets(job, packed["files"], task)
    )
    reuse_memory()
    machine = describe_machine(device)
    report(
        "start",
        machine=machine,
        precision=str(choose_precision(recipe.precision, device)).removeprefix("torch."),
        planned_epochs=recipe.epochs,
        test_images=len(test_set[0]),
    )
    for seed in job.seeds or (recipe.seed,):
        weights = train(job, task, replace(recipe, seed=seed), training_set, machine)
        network = build_network(task).to(device)
        network.load_state_dict(weights)
        loss, accuracy = measure(task, network, test_set[0], test_set[1].long())
        report("end", test_loss=loss, test_accuracy=accuracy)
    report(
        "finish",
        float32_error=float32_error(device),
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        inference_rates=inference_rates(task, weights, test_set[0]) if job.inference else {},
    )


def train(
    job: Job, task: Task, recipe: Recipe, training_set: LabelledTensors, machine: dict[str, Any]
) -> dict[str, Tensor]:
    """Train once and return the weights of the last epoch; reports the run and its epochs."""
    started = time.perf_counter()
    trainer = Trainer(task, *training_set, recipe)
    if job.only_warn:
        torch.use_deterministic_algorithms(True, warn_only=True)
    identity = {"params": asdict(recipe), **machine}
    checkpoint = Checkpoint(identity, run_id="", started="")
    path = Path(job.checkpoint) if job.checkpoint else None
    if path and path.exists():
        checkpoint = Checkpoint.load(path, identity)
        assert checkpoint.state
        trainer.restore(checkpoint.state)
    finished = len(checkpoint.history)
    finish_work(trainer.device)
    built = time.perf_counter()
    if job.graph:
        if not record(trainer):
            raise RuntimeError("the step could not be recorded")
        finish_work(trainer.device)
    report(
        "run",
        seed=recipe.seed,
        after_epoch=finished,
        images=trainer.images_per_epoch,
        build_seconds=built - started,
        record_seconds=time.perf_counter() - built if job.graph else None,
    )
    for number in range(finished + 1, recipe.epochs + 1):
        if job.kill_after and job.kill_after[0] == number:
            trainer.step = Fuse(trainer.step, job.kill_after[1])  # type: ignore[method-assign]
        started = time.perf_counter()
        epoch = trainer.epoch(number)
        seconds = time.perf_counter() - started  # with the copies of the state to the host
        if path:
            checkpoint.add(epoch, {})
            checkpoint.save(path)
        figures = {**epoch.figures, "seconds": seconds}
        report("epoch", **figures, weights_sha256=digest_of(epoch.weights))
    return epoch.weights


class Fuse:
    """A training step that kills this process (SIGKILL) after a number of steps."""

    def __init__(self, step: Callable[[Tensor], None], steps: int) -> None:
        self.step = step
        self.left = steps

    def __call__(self, batch: Tensor) -> None:
        """Take a step."""
        self.step(batch)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def read_sets(job: Job, digests: dict[str, str], task: Task) -> list[LabelledTensors]:
    """The training set and the test set.

    ValueError if a file has changed since it was packed.
    """
    folder = Path(job.folder)
    for name, digest in digests.items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} has changed since it was packed: pack it again")
    return [
        (
            torch.from_numpy(np.array(data.images[: job.images])),
            torch.from_numpy(np.array(data.labels[: job.images])),
        )
        for data in task.read(folder)
    ]


def digest_of(weights: dict[str, Tensor]) -> str:
    """The SHA-256 of the weights as a safetensors file."""
    return hashlib.sha256(save(weights)).hexdigest()


def report(event: str, **values: Any) -> None:
    """Send an event to the parent process, as a line of JSON."""
    print(json.dumps({"event": event, **values}), flush=True)


def main(text: str) -> None:
    """Run the job; report an error as an event."""
    content = json.loads(text)
    warnings.showwarning = lambda message, *_: report("warning", message=str(message))
    try:
        run(Job(**content))
    except Exception as error:
        traceback.print_exc()
        report("error", message=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
