"""python -m benchmarks.scoring: a million images through `python -m pipeline score`.

Beside it stands a plain loop: `session.run` of the same file on 256 images after the other, with
ONNX Runtime's own choice of threads, the answers in one Parquet file at the end. The images are
those of the test set again and again, as an array that is mapped into memory; `score` also reads a
folder of PNG files. Each run is a process of its own, measured with all that it imports.

Writes reports/benchmarks/scoring.json and .md. Needs `dvc repro` before, 1 GB of disk, and an idle
machine. Takes six to twelve minutes on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from pyarrow import parquet
from tqdm import tqdm

from benchmarks.report import table, write_report
from pipeline.core.files import read_tensors
from pipeline.core.paths import RELEASED_MODEL, TEST

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
columns = {"digit": probabilities.argmax(1), "probabilities": list(probabilities)}
parquet.write_table(pyarrow.table(columns), sys.argv[2])
"""]  # fmt: skip


# the most memory of a process is at least that of the one that starts it: so this small one does
APART = [sys.executable, "-S", "-c", """
import json, os, sys, time

begin = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
measured = {"seconds": time.perf_counter() - begin, "peak_bytes": usage.ru_maxrss * 1024}
print(json.dumps(measured), file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""]  # fmt: skip


def measure(command: list[str]) -> dict[str, float]:
    """Run a command: `seconds`, and `peak_bytes`, the most memory that it had resident."""
    result = subprocess.run([*APART, *command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command[1:4])} failed: {result.stderr}")
    measured: dict[str, float] = json.loads(result.stderr.splitlines()[-1])
    return measured


def make_inputs(folder: Path, images: int, files: int) -> tuple[Path, Path]:
    """The array and the folder of PNG files."""
    test = read_tensors(TEST)["images"]
    array, pictures = folder / "images.npy", folder / "pictures"
    mapped = np.lib.format.open_memmap(array, "w+", np.uint8, (images, 28, 28))
    for start in range(0, images, len(test)):
        mapped[start : start + len(test)] = test[: images - start]
    pictures.mkdir()
    for number in range(files):
        Image.fromarray(test[number % len(test)]).save(pictures / f"{number:06}.png")
    return array, pictures


def main(images: int, files: int, rounds: int) -> None:
    """Measure every way in turn, and write the report."""
    with tempfile.TemporaryDirectory(dir=TEST.parent) as scratch:
        folder = Path(scratch)
        array, pictures = make_inputs(folder, images, files)
        output, model = folder / "out.parquet", str(RELEASED_MODEL)
        ways = {
            "score, array": ([*SCORE, str(array), "-o", str(output)], images),
            "plain loop, array": ([*LOOP, str(array), str(output), model], images),
            "score, PNG files": ([*SCORE, str(pictures), "-o", str(output)], files),
        }
        measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        digits = {}
        for _ in tqdm(range(rounds), unit=" rounds"):
            for way, (command, _) in ways.items():
                measured[way].append(measure(command))
                digits[way] = parquet.read_table(output, columns=["digit"])["digit"].to_numpy()
    score, loop, _ = ways
    same = int((digits[score] == digits[loop]).sum())
    counts = {way: count for way, (_, count) in ways.items()}
    result = {"images": counts, "same_digits": same, "runs": measured}
    write_report("scoring", result, show(measured, counts, same), ["pyarrow", "pillow"])


def show(measured: dict[str, list[dict[str, float]]], counts: dict[str, int], same: int) -> str:
    """The report."""
    rows = []
    for way, runs in measured.items():
        rates = sorted(counts[way] / run["seconds"] for run in runs)
        peak = max(run["peak_bytes"] for run in runs)
        rows.append([way, f"{counts[way]:,}", f"{median(rates):,.0f}",
                     f"{rates[0]:,.0f} to {rates[-1]:,.0f}", f"{peak / 1e6:,.0f}"])  # fmt: skip
    headers = ["", "images", "images/s, median", "from, to", "peak memory, MB"]
    return (
        f"{table(headers, rows)}\n\nProcesses as they are started, imports included. Of the digits "
        f"of the array, {same:,} are the same in both ways. Memory that is mapped counts."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="in the array")
    parser.add_argument("--files", type=int, default=FILES, help="in the folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    main(arguments.images, arguments.files, arguments.rounds)
