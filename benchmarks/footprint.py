"""One piece of work in a process of its own: how long it takes, and how much memory at most.

Run by `benchmarks.growth`, in a folder that holds params.yaml, data/ and models/. Writes a line of
JSON: `seconds`, without imports, and `peak_bytes`, the most memory that the process ever had
resident, with all that it imports.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.config import Params, load_params
from pipeline.core.files import read_tensors
from pipeline.core.paths import RELEASED_MODEL, TRAIN


class EnoughError(Exception):
    """All batches that were asked for are done."""


def train(params: Params, images: int, epochs: int, batches: int | None) -> Callable[[], None]:
    """Training on the first images as the stage does it, all of it or only so many batches."""
    import torch

    from pipeline.training import trainer

    recipe = replace(params.train, epochs=epochs, validation_size=0)
    done = 0

    def on_batch(loss: float, accuracy: float, count: int) -> None:
        nonlocal done
        done += 1
        if done == batches:
            raise EnoughError

    def work() -> None:
        data = read_tensors(TRAIN)
        pixels, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
        try:
            for _ in trainer.train(pixels[:images], labels[:images], recipe, on_batch=on_batch):
                pass
        except EnoughError:
            pass

    return work


def prepare(params: Params, images: int) -> Callable[[], None]:
    """The stage `prepare`, on a data/raw with so many training images."""
    from pipeline.stages import prepare

    sizes = params.prepare.model_copy(update={"training_images": images})
    return lambda: prepare.run(sizes)


def infer(params: Params, images: int) -> Callable[[], None]:
    """The released model's answers to the first images, as the stage `evaluate` asks for them."""
    from pipeline.inference.session import OnnxModel

    def work() -> None:
        model = OnnxModel(RELEASED_MODEL, params.evaluate.provider)
        model.run(read_tensors(TRAIN)["images"][:images], params.evaluate.batch_size)

    return work


def peak_bytes() -> int:
    """The most memory that this process had resident.

    On Linux not getrusage's number, in which the process that started this one has a part.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (
            line
            for line in status.read_text(encoding="utf-8").splitlines()
            if line.startswith("VmHWM")
        )
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes, on macOS


def main() -> None:
    """Do the work that the arguments name, and write the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["train", "prepare", "infer"])
    parser.add_argument("images", type=int)
    parser.add_argument("--epochs", type=int, default=1, help="of train")
    parser.add_argument("--batches", type=int, help="of train: end after so many")
    arguments = parser.parse_args()
    params = load_params()
    match arguments.kind:
        case "train":
            work = train(params, arguments.images, arguments.epochs, arguments.batches)
        case "prepare":
            work = prepare(params, arguments.images)
        case _:
            work = infer(params, arguments.images)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
