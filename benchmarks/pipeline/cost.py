"""A task in a separate process, for `python -m benchmarks scaling` to measure.

    python -m benchmarks.pipeline.cost train 15000 --workspace FOLDER

The folder contains params.yaml, data/ and models/. Prints the seconds that the task takes, without
imports.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.config import load_params
from pipeline.core.files import read_tensors
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace


class EnoughError(Exception):
    """The requested number of batches is done."""


def train(
    workspace: Workspace, images: int, epochs: int, batches: int | None
) -> Callable[[], None]:
    """Training on the first images, as in the stage; stops after `batches`, if given."""
    import torch

    from pipeline.training import trainer

    params = load_params(workspace.params)
    recipe = replace(params.train, epochs=epochs, validation_size=0)
    task = load_task(params.task, workspace.root)

    done = 0

    def on_progress(images: int, loss: float, accuracy: float) -> None:
        nonlocal done
        done += 1
        if done == batches:
            raise EnoughError

    def work() -> None:
        trainer.Trainer.progress_interval = 0  # after each batch
        data = read_tensors(workspace.training_set)
        pixels, labels = (torch.from_numpy(data[n][:images]) for n in ("images", "labels"))
        try:
            for _ in trainer.train(task, pixels, labels, recipe, on_progress=on_progress):
                pass
        except EnoughError:
            pass

    return work


def prepare(workspace: Workspace, images: int) -> Callable[[], None]:
    """The stage `prepare`, on a data/raw with `images` training images."""
    from pipeline.stages import prepare

    params = load_params(workspace.params)
    sizes = params.prepare.model_copy(update={"training_images": images})
    task = load_task(params.task, workspace.root)
    return lambda: prepare.run(workspace, sizes, task)


def infer(workspace: Workspace, images: int) -> Callable[[], None]:
    """Inference on the first images with the released model, as in the stage `evaluate`."""
    from pipeline.inference.session import OnnxModel

    params = load_params(workspace.params).evaluate

    def work() -> None:
        model = OnnxModel(workspace.released_model, params.providers[0])
        model.run(read_tensors(workspace.training_set)["images"][:images], params.batch_size)

    return work


def main() -> None:
    """Run the task that the arguments name; print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["train", "prepare", "infer"])
    parser.add_argument("images", type=int)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1, help="epochs of train")
    parser.add_argument("--batches", type=int, help="stop train after this many")
    arguments = parser.parse_args()
    workspace, images = Workspace(arguments.workspace), arguments.images
    match arguments.kind:
        case "train":
            work = train(workspace, images, arguments.epochs, arguments.batches)
        case "prepare":
            work = prepare(workspace, images)
        case _:
            work = infer(workspace, images)
    started = time.perf_counter()
    work()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
