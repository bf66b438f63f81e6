"""The `train` stage: train on training set and feedback alone, resuming an interrupted run.

After each epoch, the stage writes the resume file, which alone determines where the next run
starts. Then it writes history, system load, summary and averaged weights for users, later stages
and MLflow.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock
import psutil
import torch
from safetensors.torch import save
from tqdm import tqdm

from pipeline.collection.mixing import training_images
from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.core.files import sha256, write_bytes, write_csv
from pipeline.core.reports import FlowRun, TrainingReport
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.tracking import background
from pipeline.training.checkpoint import Checkpoint, CheckpointError, Row
from pipeline.training.device import choose_precision, describe_gpu, reuse_memory
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import NonFiniteLossError, Trainer

# together with the task's package itself, the modules that determine the bits of the weights
TASK_MODULES = ["augmentation", "network"]
TRAINING_MODULES = [
    *("average", "device", "graph", "network", "optimizer", "recipe", "schedule", "totals"),
    "trainer",
]


def run(workspace: Workspace, recipe: Recipe, task: Task) -> None:
    """Train to the last epoch and write its averaged weights.

    Raises UserError if a setting is invalid, training diverges or another training is running.
    """
    with training_lock(workspace):
        data = training_images(workspace.training_set, workspace.feedback)
        images, labels = map(torch.from_numpy, data)
        try:
            reuse_memory()
            # before anything is written: an invalid setting must not replace earlier results
            trainer = Trainer(task, images, labels, recipe)
            identity = identify(workspace, recipe, task, trainer.device)
            checkpoint = resume_or_start(workspace, identity)
            machine = describe_machine(workspace)
            write_reports(workspace, checkpoint, machine)
            progress = ProgressBar(recipe.epochs, trainer.images_per_epoch)
            with background.following(workspace):
                for epoch in trainer.run(checkpoint.state, progress.on_progress):
                    checkpoint.add(epoch, system_load(trainer.device))
                    checkpoint.save(workspace.checkpoint)
                    write_reports(workspace, checkpoint, machine)
                    progress.on_epoch(epoch.figures)
                write_bytes(workspace.weights, save(checkpoint.weights[-1]))
                write_reports(workspace, checkpoint, machine, finished=True)
        except NonFiniteLossError as error:
            workspace.checkpoint.unlink(missing_ok=True)
            raise UserError(
                f"training diverged: {error}; lower train.peak_learning_rate"
            ) from error
        except ValueError as error:
            raise UserError(f"{workspace.params}: train: {error}") from error
        workspace.checkpoint.unlink(missing_ok=True)


@contextmanager
def training_lock(workspace: Workspace) -> Iterator[None]:
    """Allow one training at a time in this workspace.

    The operating system releases the lock however the process ends. Raises UserError if another
    training is running.
    """
    workspace.training_lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        # the timeout covers `track`, which may hold the lock for a moment
        with filelock.FileLock(workspace.training_lock, timeout=1):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"another training is running in {workspace.root.absolute()}; wait for it or stop it"
        ) from error


def identify(
    workspace: Workspace, recipe: Recipe, task: Task, device: torch.device
) -> dict[str, Any]:
    """Return everything that determines the bits of the weights, including GPU or processor."""
    precision = choose_precision(recipe.precision, device)
    if device.type == "cuda":
        gpu = describe_gpu(device)
        hardware = {"device": gpu["name"], "gpu": gpu}
    else:
        hardware = {"device": device.type, **_processor()}
    return {
        "task": task.package,
        "params": asdict(recipe),
        "data_sha256": sha256(workspace.training_set),
        "feedback_sha256": sha256(workspace.feedback) if workspace.feedback.exists() else None,
        "code_sha256": code_digests(task),
        **hardware,
        "precision": str(precision).removeprefix("torch."),
        "versions": environment.versions(),
    }


def code_digests(task: Task) -> dict[str, str]:
    """Return the SHA-256 of each source file that determines the weights, by repository path."""
    names = [
        task.package,
        *(f"{task.package}.{name}" for name in TASK_MODULES),
        training_images.__module__,
        *(f"pipeline.training.{name}" for name in TRAINING_MODULES),
    ]
    digests = {}
    for name in names:
        module = import_module(name)
        assert module.__file__ is not None
        suffix = "/__init__.py" if hasattr(module, "__path__") else ".py"
        digests[name.replace(".", "/") + suffix] = sha256(Path(module.__file__))
    return digests


def describe_machine(workspace: Workspace) -> dict[str, Any]:
    """Return what the report records about machine and environment in addition to the identity."""
    lock = workspace.requirements
    return {**_processor(), "requirements_sha256": sha256(lock) if lock.is_file() else None}


def _processor() -> dict[str, Any]:
    return {"threads": torch.get_num_threads(), "hardware": environment.hardware()}


def resume_or_start(workspace: Workspace, identity: dict[str, Any]) -> Checkpoint:
    """Load the unfinished run with this identity or start a new one; print which."""
    # they may belong to another run, and the resume file holds them too
    shutil.rmtree(workspace.epochs, ignore_errors=True)
    if workspace.checkpoint.exists():
        try:
            checkpoint = Checkpoint.load(workspace.checkpoint, identity)
            print(f"resuming after epoch {len(checkpoint.history)}, from {workspace.checkpoint}")
            return checkpoint
        except CheckpointError as error:
            print(f"starting over: cannot resume from {workspace.checkpoint}: {error}")
            workspace.checkpoint.unlink()
    return Checkpoint(
        identity,
        run_id=uuid.uuid4().hex,
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def write_reports(
    workspace: Workspace,
    checkpoint: Checkpoint,
    machine: dict[str, Any],
    *,
    finished: bool = False,
) -> None:
    """Write the progress of the training for users, later stages and MLflow."""
    for number, weights in enumerate(checkpoint.weights, start=1):
        path = workspace.epochs / f"{number:02}.safetensors"
        if not path.exists():
            write_bytes(path, save(weights))
    write_csv(workspace.history, checkpoint.history)
    write_csv(workspace.system_metrics, checkpoint.system)
    flow_run = environment.flow_run()
    TrainingReport(
        run_id=checkpoint.run_id,
        status="finished" if finished else "unfinished",
        started=checkpoint.started,
        seconds=round(sum(row["seconds"] for row in checkpoint.history), 1),
        git_revision=environment.git_revision(workspace.root, checkpoint.identity["task"]),
        flow_run=FlowRun.model_validate(flow_run) if flow_run else None,
        final=checkpoint.history[-1] if checkpoint.history else None,
        weights_sha256=sha256(workspace.weights) if finished else None,
        **machine | checkpoint.identity,
    ).write(workspace.training_report)


def system_load(device: torch.device) -> Row:
    """Return the system load since the last call, under MLflow's names for system metrics.

    Covers only the GPU that trains: querying another one would allocate memory on it.
    """
    memory = psutil.virtual_memory()
    load = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system/system_memory_usage_percentage": memory.percent,
    }
    if device.type == "cuda":
        try:
            free, total = torch.cuda.mem_get_info(device)
            used = total - free
        except RuntimeError:  # do not abort training for a metric; report this process's memory
            used = torch.cuda.memory_reserved(device)
        load[f"system/gpu_{device.index or 0}_memory_usage_megabytes"] = round(used / 1e6, 1)
    return load


class ProgressBar:
    """Terminal progress: a bar for the current epoch, one line per finished epoch."""

    def __init__(self, epochs: int, size: int) -> None:
        self.epochs = epochs
        self.size = size
        self.start()

    def start(self) -> None:
        """Start the bar of an epoch."""
        self.bar = tqdm(total=self.size, unit=" images", leave=False, disable=None)

    def on_progress(self, images: int, loss: float, accuracy: float) -> None:
        """Show the mean loss and accuracy of the epoch's images so far."""
        self.bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.2%}", refresh=False)
        self.bar.update(images - self.bar.n)

    def on_epoch(self, figures: Row) -> None:
        """Replace the bar of the finished epoch with a line and start the next bar."""
        self.bar.close()
        parts = [f"epoch {figures['epoch']:.0f}/{self.epochs}"]
        for name in ("training", "validation"):
            if f"{name}_loss" in figures:
                loss, accuracy = figures[f"{name}_loss"], figures[f"{name}_accuracy"]
                parts.append(f"{name} loss {loss:.4f}, accuracy {accuracy:.2%}")
        parts.append(f"{figures['seconds']:.1f} s, {figures['images_per_second']:,.0f} images/s")
        print("  ".join(parts), flush=True)
        if figures["epoch"] < self.epochs:
            self.start()
