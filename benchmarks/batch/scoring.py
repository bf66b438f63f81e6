"""python -m benchmarks scoring: a million images through `python -m pipeline score`.

The baseline is a plain loop: `session.run` on the same file in batches of 256 images, with ONNX
Runtime's default threads, and one Parquet file at the end. The images are the test set, repeated,
in a memory-mapped array; `score` also reads a folder of PNG files. Each run is a separate process,
and its imports count.

Writes reports/benchmarks/scoring.json and .md. Requires `dvc repro` first, 1 GB of disk and an idle
machine. Takes 6 to 12 minutes on two cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from tqdm import tqdm

from benchmarks.memory import Cost, measure
from benchmarks.report import write_report
from benchmarks.tables import median_and_range, table
from pipeline.core.files import read_tensors
from pipeline.core.workspace import Workspace

Images = NDArray[np.uint8]

IMAGES, FILES, ROUNDS = 1_000_000, 20_000, 3
SCORE = [sys.executable, "-m", "pipeline", "score"]
LOOP = [sys.executable, "-c", """
import sys
import numpy, onnxruntime, pyarrow
from pyarrow import parquet

images = numpy.load(sys.argv[1], mmap_mode="r")
session = onnxruntime.InferenceSession(sys.argv[3], providers=["CPUExecutionProvider"])
answers = [
    session.run(["probabilities"], {"images": images[start : start + 256]})[0]
    for start in range(0, len(images), 256)
]
probabilities = numpy.concatenate(answers)
columns = {"class": probabilities.argmax(1), "probabilities": list(probabilities)}
parquet.write_table(pyarrow.table(columns), sys.argv[2])
"""]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options."""
    parser.add_argument("--images", type=int, default=IMAGES, help="images in the array")
    parser.add_argument("--files", type=int, default=FILES, help="PNG files in the folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS)


def main(workspace: Workspace, images: int, files: int, rounds: int) -> None:
    """Measure every command in turn and write the report."""
    test, model = read_tensors(workspace.test_set)["images"], str(workspace.released_model)
    with tempfile.TemporaryDirectory(dir=workspace.test_set.parent) as scratch:
        array, pictures = make_inputs(test, Path(scratch), images, files)
        output = Path(scratch) / "out.parquet"
        score = [*SCORE, "--model", model, "--output", str(output)]
        commands = {
            "score, array": ([*score, str(array)], images),
            "plain loop, array": ([*LOOP, str(array), str(output), model], images),
            "score, PNG files": ([*score, str(pictures)], files),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        answers = {}
        for _ in tqdm(range(rounds), unit=" rounds"):
            for name, (command, _) in commands.items():
                costs[name].append(measure(command))
                answers[name] = read_classes(output)
    scored, looped, _ = answers.values()
    same = int((scored == looped).sum())
    counts = {name: count for name, (_, count) in commands.items()}
    runs = {
        name: [{"seconds": cost.seconds, "peak_bytes": cost.peak_bytes} for cost in of]
        for name, of in costs.items()
    }
    result = {"images": counts, "same_answers": same, "runs": runs}
    write_report(workspace, "scoring", result, show(costs, counts, same), ["pyarrow", "pillow"])


def make_inputs(test: Images, folder: Path, images: int, files: int) -> tuple[Path, Path]:
    """Write test images, uint8 [N, H, W], repeated: the paths of an array and of PNG files."""
    array, pictures = folder / "images.npy", folder / "pictures"
    mapped = np.lib.format.open_memmap(array, "w+", np.uint8, (images, *test.shape[1:]))
    for start in range(0, images, len(test)):
        mapped[start : start + len(test)] = test[: images - start]
    pictures.mkdir()
    for number in range(files):
        Image.fromarray(test[number % len(test)]).save(pictures / f"{number:06}.png")
    return array, pictures


def read_classes(path: Path) -> NDArray[np.int64]:
    """The index of the most probable class in each row of an output, [N]."""
    column = parquet.read_table(path, columns=["probabilities"])["probabilities"].combine_chunks()
    probabilities = column.flatten().to_numpy().reshape(len(column), -1)
    return np.asarray(probabilities.argmax(1))


def show(costs: dict[str, list[Cost]], counts: dict[str, int], same: int) -> str:
    """The report in Markdown."""
    rows = [
        [
            name,
            f"{counts[name]:,}",
            median_and_range([counts[name] / cost.seconds for cost in of], ",.0f"),
            f"{max(cost.peak_bytes for cost in of) / 1e6:,.0f}",
        ]
        for name, of in costs.items()
    ]
    headers = ["", "images", "images/s (range)", "peak memory, MB"]
    return (
        f"{table(headers, rows)}\n\nTimes are of whole processes, imports included; memory "
        f"includes mapped files. On the array, both give the same answer to {same:,} images."
    )
