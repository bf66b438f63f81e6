"""python -m benchmarks collection: what the stage `collect` refuses, at the scale of the data set.

The released model answers the calibration images, which it was not trained on, as they are and with
thicker strokes. Simulated users label them: with random errors, or together with a wrong class. The
test images are altered, and searched for by their hashes.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.collection import copies, voting
from benchmarks.collection.voting import Traffic
from benchmarks.models import task_of
from benchmarks.report import write_report
from benchmarks.tables import table
from pipeline.collection.selection import Rules
from pipeline.config import load_params
from pipeline.core.files import read_tensors
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.inference.session import OnnxModel

IMAGES = 1000  # test images that are altered
RATE = 0.1  # of flipped labels
POISONED = 200  # images on which clients agree on a wrong class
PLAIN, SHIFTED = "as they are", "with thicker strokes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument(
        "--images", type=int, default=IMAGES, help=f"test images that are altered ({IMAGES})"
    )


def main(workspace: Workspace, images: int) -> None:
    """Measure and write the report."""
    task, params = task_of(workspace), load_params(workspace.params).collect
    calibration = read_tensors(workspace.calibration_set)
    model, classes = OnnxModel(workspace.released_model), len(task.labels)

    def answered(pixels: NDArray[np.uint8]) -> Traffic:
        labels = calibration["labels"].astype(np.int64)
        return Traffic(pixels, labels, model.run(pixels).probabilities)

    plain = answered(calibration["images"])
    thicker = answered(DISTORTIONS["thicker"](calibration["images"]))

    def rules(votes: int) -> Rules:
        return Rules(votes, params.cap_per_client, params.near, live_share=0.0)

    flips = [
        {"traffic": title, "votes": needed, "voters": voters}
        | voting.flipped(traffic, rules(needed), voters=voters, rate=RATE, classes=classes)
        for title, traffic in ((PLAIN, plain), (SHIFTED, thicker))
        for needed, voters in ((1, 1), (2, 2), (2, 3))
    ]
    poison = [
        {"clients": clients}
        | voting.poisoned(plain, rules(2), clients=clients, images=POISONED, classes=classes)
        for clients in (1, 2, 8)
    ]
    limits = sorted({0, 8, 16, 24, 32, params.near})
    test, training = (
        read_tensors(path)["images"] for path in (workspace.test_set, workspace.training_set)
    )
    result = {
        "rate": RATE,
        "poisoned": POISONED,
        "cap_per_client": params.cap_per_client,
        "near": params.near,
        "flips": flips,
        "poison": poison,
        "copies": copies.measure(test, training, task.form, images, limits),
    }
    write_report(workspace, "collection", result, show(result), ["cleanlab"])


def show(result: dict[str, Any]) -> str:
    """The tables in Markdown."""
    flips = table(
        ["Images", "Voters", "Votes that settle", "Collected", "Wrong labels", "Why refused"],
        [
            [
                row["traffic"], row["voters"], row["votes"],
                _collected(row), row["wrong"], _reasons(row),
            ]
            for row in result["flips"]
        ],
    )  # fmt: skip
    poison = table(
        ["Clients", "Collected", "Wrong labels", "Why refused"],
        [
            [row["clients"], _collected(row), row["wrong"], _reasons(row)]
            for row in result["poison"]
        ],
    )
    limits = [*result["copies"][0]["recognised"]]
    copied = table(
        ["Images", *(f"{limit} bits" for limit in limits)],
        [
            [row["images"], *(f"{row['recognised'][limit]:.1%}" for limit in limits)]
            for row in result["copies"]
        ],
    )
    cap, images = result["cap_per_client"], result["poisoned"]
    return f"""\
## Flipped labels

Each vote names another class with a probability of {result["rate"]:.0%}.

{flips}

## Clients that vote for a wrong class

Clients agree in pairs, each pair on the wrong class of up to {cap} images, on which their votes
count, and on {images} images in all. One client alone votes on all of those. On the other
images, two users agree on the right class.

{poison}

## Altered test images

Share that counts as a test image, by the number of bits in which hashes may differ;
`collect.near` is {result["near"]}. The last row has the false alarms.

{copied}
"""


def _collected(row: dict[str, Any]) -> str:
    return f"{row['collected']:,} of {row['images']:,}"


def _reasons(row: dict[str, Any]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in row["refused"].items()) or "none"
