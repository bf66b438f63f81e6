"""train: the weights, from data/train.safetensors alone; what was killed goes on where it was.

After each epoch all that is known is written: first the resume file, which alone decides where a
next run starts, then history, system load, summary and averaged weights, for people, later stages
and MLflow to read.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import psutil
import torch
from safetensors.torch import save
from tqdm import tqdm

from pipeline import environment
from pipeline.errors import UserError
from pipeline.files import read_tensors, sha256, write_bytes, write_csv, write_json
from pipeline.mnist import training
from pipeline.mnist.checkpoint import Checkpoint, CheckpointError, Row
from pipeline.mnist.recipe import Recipe
from pipeline.paths import EPOCHS, HISTORY, RESUME, SUMMARY, SYSTEM, TRAIN, TRAINING_LOCK, WEIGHTS
from pipeline.tracking import background

# of pipeline.mnist: what decides the bits
CODE = ["augmentation", "model", "optimizer", "recipe", "training"]


def run(recipe: Recipe) -> None:
    """Train to the last epoch and write its averaged weights. UserError for what goes wrong."""
    with only_training_here():
        data = read_tensors(TRAIN)
        images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
        try:
            checkpoint = resume_or_start(identify(recipe))
            write_reports(checkpoint)
            bar = Bar(recipe.epochs, len(images) - recipe.validation_size)
            with background.following():
                for epoch in training.train(images, labels, recipe, checkpoint.state, bar.on_batch):
                    checkpoint.add(epoch, system_load())
                    checkpoint.save(RESUME)
                    write_reports(checkpoint)
                    bar.on_epoch(epoch.figures)
                write_bytes(WEIGHTS, save(checkpoint.weights[-1]))
                write_reports(checkpoint, finished=True)
        except training.NonFiniteLossError as error:
            RESUME.unlink(missing_ok=True)
            raise UserError(
                f"training diverged: {error}; lower train.peak_learning_rate"
            ) from error
        except ValueError as error:
            raise UserError(f"train: {error}") from error
        RESUME.unlink(missing_ok=True)


@contextmanager
def only_training_here() -> Iterator[None]:
    """Hold the lock of this folder's training; the system frees it however the process ends."""
    TRAINING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(TRAINING_LOCK, timeout=1):  # `track` may hold it for a moment
            yield
    except filelock.Timeout as error:
        raise UserError(f"another training runs in {Path.cwd()}; wait for it or end it") from error


def identify(recipe: Recipe) -> dict[str, Any]:
    """All that the bits of the weights depend on."""
    device = training.choose_device(recipe.device)
    precision = training.choose_precision(recipe.precision, device)
    code = Path(training.__file__).parent
    return {
        "params": asdict(recipe),
        "data_sha256": sha256(TRAIN),
        "code_sha256": {name: sha256(code / f"{name}.py") for name in CODE},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "hardware": environment.hardware(),
        "versions": environment.versions(),
    }


def resume_or_start(identity: dict[str, Any]) -> Checkpoint:
    """The unfinished training of this identity, or a new one, with a word on which it is."""
    shutil.rmtree(EPOCHS, ignore_errors=True)  # of whatever run; they are in the resume file too
    if RESUME.exists():
        try:
            checkpoint = Checkpoint.load(RESUME, identity)
            print(f"going on after epoch {len(checkpoint.history)}, from {RESUME}")
            return checkpoint
        except CheckpointError as error:
            print(f"starting anew: {RESUME} is ignored, for {error}")
            RESUME.unlink()
    return Checkpoint(
        identity,
        run_id=uuid.uuid4().hex,
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def write_reports(checkpoint: Checkpoint, *, finished: bool = False) -> None:
    """Write all that other stages, people and MLflow see of the training so far."""
    for number, weights in enumerate(checkpoint.weights, start=1):
        path = EPOCHS / f"{number:02}.safetensors"
        if not path.exists():
            write_bytes(path, save(weights))
    write_csv(HISTORY, checkpoint.history)
    write_csv(SYSTEM, checkpoint.system)
    summary = {
        "run_id": checkpoint.run_id,
        "status": "finished" if finished else "unfinished",
        "started": checkpoint.started,
        "seconds": round(sum(row["seconds"] for row in checkpoint.history), 1),
        "git_revision": environment.git_revision(),
        "flow_run": environment.flow_run(),
        **checkpoint.identity,
        "final": checkpoint.history[-1] if checkpoint.history else None,
        "weights_sha256": sha256(WEIGHTS) if finished else None,
    }
    write_json(SUMMARY, summary)


def system_load() -> Row:
    """The machine's load since the last call, under the names that MLflow knows."""
    memory = psutil.virtual_memory()
    load = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system/system_memory_usage_percentage": memory.percent,
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        load["system/gpu_0_memory_usage_megabytes"] = round((total - free) / 1e6, 1)
    return load


class Bar:
    """What a person sees of the training: a bar for the epoch, a line for each finished one."""

    def __init__(self, epochs: int, size: int) -> None:
        self.epochs = epochs
        self.size = size
        self.start()

    def start(self) -> None:
        """Begin an epoch."""
        self.images, self.loss_sum, self.accuracy_sum = 0, 0.0, 0.0
        self.bar = tqdm(total=self.size, unit=" images", leave=False, disable=None)

    def on_batch(self, loss: float, accuracy: float, count: int) -> None:
        """Move on by one batch."""
        self.images += count
        self.loss_sum += loss * count
        self.accuracy_sum += accuracy * count
        means = self.loss_sum / self.images, self.accuracy_sum / self.images
        self.bar.set_postfix_str("loss {:.4f}, accuracy {:.2%}".format(*means), refresh=False)
        self.bar.update(count)

    def on_epoch(self, figures: Row) -> None:
        """Put the finished epoch's line in the place of its bar, and begin the next."""
        self.bar.close()
        shown = [f"epoch {figures['epoch']:.0f}/{self.epochs}"]
        for name in ("training", "validation"):
            if f"{name}_loss" in figures:
                loss, accuracy = figures[f"{name}_loss"], figures[f"{name}_accuracy"]
                shown.append(f"{name} loss {loss:.4f}, accuracy {accuracy:.2%}")
        shown.append(f"{figures['seconds']:.1f} s, {figures['images_per_second']:,.0f} images/s")
        print("  ".join(shown), flush=True)
        if figures["epoch"] < self.epochs:
            self.start()
