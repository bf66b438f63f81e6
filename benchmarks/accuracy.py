"""python -m benchmarks.accuracy: what our recipes reach over many seeds, and on distorted digits.

Trains `release` and `fast` with ten seeds each, as many trainings at once as there are cores with
one thread each, exports the last epoch of each and measures it by ONNX Runtime on the test set: as
it is, and moved, turned, scaled, noisy, thinner and thicker, each by the same random numbers for
all. Beside them stand the original recipe and PyTorch's example network as `python -m
benchmarks.training` left them in artifacts/benchmarks/; run that first.

Takes about an hour on two cores. Trainings that are done are kept in artifacts/benchmarks/, so that
the command can be stopped and started. `--seeds 2` is a quick look; it writes no report.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.distortions import DISTORTIONS
from benchmarks.models import MODELS, export, mistakes
from benchmarks.recipes import load_recipe
from benchmarks.report import table, write_report
from pipeline.files import read_tensors, sha256
from pipeline.mnist import training
from pipeline.mnist.model import build_network
from pipeline.params import load_params
from pipeline.paths import TEST, TRAIN
from pipeline.stages.train import CODE

GATE = load_params().gate.min_accuracy
RIVALS = {"original": "original", "PyTorch example": "pytorch-example"}


def file_name(recipe_name: str, seed: int) -> str:
    """The name of the file of a training, without suffix; another recipe or code has another."""
    code = [sha256(Path(training.__file__).parent / f"{name}.py") for name in CODE]
    decides = json.dumps([asdict(load_recipe(recipe_name, seed=seed)), code, sha256(TRAIN)])
    return f"{recipe_name}-{seed}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"


def train_once(recipe_name: str, seed: int) -> None:
    """Train on all training images, on one thread, and export the last epoch."""
    torch.set_num_threads(1)
    data = read_tensors(TRAIN)
    images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    for epoch in training.train(images, labels, load_recipe(recipe_name, seed=seed)):
        weights = epoch.weights
    network = build_network()
    network.load_state_dict(weights)
    export(network, file_name(recipe_name, seed))


def train_missing(wanted: list[tuple[str, int]]) -> None:
    """Do the trainings whose file is not there yet."""
    missing = [run for run in wanted if not (MODELS / f"{file_name(*run)}.onnx").exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        futures = [pool.submit(train_once, *run) for run in missing]
        for future in tqdm(as_completed(futures), total=len(futures), unit=" trainings"):
            future.result()


def measure(files: dict[str, list[Path]]) -> dict[str, dict[str, list[float]]]:
    """Accuracy, 0..1, of each file on the test set under each distortion."""
    test = read_tensors(TEST)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in files}
    for distortion, distort in tqdm(DISTORTIONS.items(), unit=" distortions"):
        images = distort(test["images"], np.random.default_rng(1))
        for name, paths in files.items():
            wrong = [mistakes(path, images, test["labels"]) for path in paths]
            found[name][distortion] = [1 - count / len(images) for count in wrong]
    return found


def main(seeds: int) -> None:
    """Train what is missing, measure, and write the report if it is about ten seeds."""
    rivals = {name: [MODELS / f"{file}.onnx"] for name, file in RIVALS.items()}
    if not all(path.exists() for [path] in rivals.values()):
        sys.exit(f"{MODELS} lacks the models to compare with: run `python -m benchmarks.training`")
    numbers = range(1, seeds + 1)
    train_missing([(name, seed) for name in ("fast", "release") for seed in numbers])
    files = {
        f"ours, {name}": [MODELS / f"{file_name(name, seed)}.onnx" for seed in numbers]
        for name in ("release", "fast")
    } | rivals
    found = measure(files)

    undistorted = next(iter(DISTORTIONS))
    rows = []
    for name, accuracies in found.items():
        plain = accuracies[undistorted]
        passed = sum(accuracy >= GATE for accuracy in plain)
        deviation = f"{stdev(plain):.3%}" if len(plain) > 1 else ""
        rows.append([name, len(plain), f"{mean(plain):.3%}", deviation, f"{min(plain):.2%}",
                     f"{max(plain):.2%}", f"{passed} of {len(plain)}"])  # fmt: skip
    over_seeds = table(
        ["test set", "seeds", "mean", "standard deviation", "lowest", "highest",
         f"at least {GATE:.1%}"], rows,
    )  # fmt: skip
    distorted = table(
        ["test accuracy, mean over seeds", *found],
        [
            [distortion, *(f"{mean(found[name][distortion]):.2%}" for name in found)]
            for distortion in DISTORTIONS
        ],
    )
    text = (
        f"{over_seeds}\n\n{distorted}\n\nThe exported files of the last "
        "epoch in ONNX Runtime. "
        "Every column sees the same distorted images."
    )
    if seeds < 10:
        print(text)
        return
    write_report("accuracy", {"gate": GATE, "accuracy": found}, text, ["torchvision", "scipy"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 1 (default: 10)")
    main(parser.parse_args().seeds)
