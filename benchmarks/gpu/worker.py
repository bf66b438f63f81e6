"""One training of `python -m benchmarks.gpu` in a separate process, which reports lines of JSON.

    python -m benchmarks.gpu.worker '{"folder": "artifacts/gpu", "recipe": "fast"}'

This module and everything that it uses import only torch, NumPy, safetensors and the standard
library.
"""

import hashlib
import json
import os
import platform
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.gpu.jobs import Job
from benchmarks.gpu.pack import read_packed
from pipeline.core.files import sha256
from pipeline.core.task import Task, load_task
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import describe_gpu, reuse_memory
from pipeline.training.measuring import measure
from pipeline.training.network import build_network
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer


def run(job: Job) -> None:
    """Train, report each epoch, then measure on the test set."""
    started = time.perf_counter()
    packed = read_packed(Path(job.folder))
    recipe = Recipe(**{**packed["recipes"][job.recipe], **job.changes})
    task = load_task(packed["task"], Path())
    training_set, test_set = read_sets(job, packed["files"], task)
    reuse_memory()
    trainer = Trainer(task, *training_set, recipe)
    if job.only_warn:
        torch.use_deterministic_algorithms(True, warn_only=True)
    machine = describe_machine(trainer.device)
    checkpoint = Checkpoint({"params": asdict(recipe), **machine}, run_id="", started="")
    path = Path(job.checkpoint) if job.checkpoint else None
    if path and path.exists():
        checkpoint = Checkpoint.load(path, checkpoint.identity)
        assert checkpoint.state
        trainer.restore(checkpoint.state)
    finished = len(checkpoint.history)
    report(
        "start",
        machine=machine,
        precision=str(trainer.precision).removeprefix("torch."),
        planned_epochs=recipe.epochs,
        images=trainer.size,
        after_epoch=finished,
        setup_seconds=time.perf_counter() - started,
    )
    for number in range(finished + 1, recipe.epochs + 1):
        if job.kill_after and job.kill_after[0] == number:
            trainer.take_step = Fuse(trainer.take_step, job.kill_after[1])
        epoch = trainer.epoch(number)
        if path:
            checkpoint.add(epoch, {})
            checkpoint.save(path)
        report("epoch", **epoch.figures, weights_sha256=digest_of(epoch.weights))
    network = build_network(task).to(trainer.device)
    network.load_state_dict(epoch.weights)
    test_images, test_labels = (tensor.to(trainer.device) for tensor in test_set)
    loss, accuracy = measure(task, network, test_images, test_labels.long())
    on_gpu = trainer.device.type == "cuda"
    report(
        "end",
        test_loss=loss,
        test_accuracy=accuracy,
        test_images=len(test_images),
        float32_error=float32_error(trainer.device),
        peak_bytes=torch.cuda.max_memory_allocated(trainer.device) if on_gpu else None,
        seconds=time.perf_counter() - started,
    )


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


def read_sets(job: Job, digests: dict[str, str], task: Task) -> list[tuple[Tensor, Tensor]]:
    """Images, uint8 [N, H, W], and labels, uint8 [N], of the training set and the test set.

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


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The device and the versions that affect results and speed."""
    return {
        "device": device.type,
        "gpu": describe_gpu(device) if device.type == "cuda" else None,
        "gpu_bytes": (
            torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
        ),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def float32_error(device: torch.device) -> float:
    """The largest error of float32 products and convolutions, relative to the largest value.

    It is near 1e-6 in float32 and near 1e-3 in TF32.
    """
    draws = torch.Generator().manual_seed(1)
    left, right = torch.randn(2, 256, 256, generator=draws)
    images = torch.randn(32, 16, 28, 28, generator=draws)
    kernels = torch.randn(16, 16, 3, 3, generator=draws)
    conv2d = torch.nn.functional.conv2d
    errors = []
    for operator, first, second in ((torch.matmul, left, right), (conv2d, images, kernels)):
        exact = operator(first.double(), second.double())
        found = operator(first.to(device), second.to(device)).cpu().double()
        errors.append(float((found - exact).abs().max() / exact.abs().max()))
    return max(errors)


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
