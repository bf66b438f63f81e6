"""score in its own process: it can be stopped, resumes, and uses little memory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from pipeline.inference import Classifier
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import make_digits
from tests.servers import wait_until

pytestmark = needs_model


def start(source: Path, output: Path) -> subprocess.Popen[str]:
    command = ["score", str(source), "--output", str(output), "--model", str(MODEL)]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_scoring_resumes_without_lost_or_duplicate_rows(
    tmp_path: Path, number: signal.Signals
) -> None:
    images = np.tile(make_digits(100, seed=1)[0], (500, 1, 1))  # four shards, a few seconds of work
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, images)
    with start(source, output) as first:
        wait_until(lambda: len(list(tmp_path.glob("out.parquet.partial/*/00000*.parquet"))) == 1)
        first.send_signal(number)
    assert not output.exists()
    (part,) = tmp_path.glob("out.parquet.partial/*/000000.parquet")
    written = part.stat().st_mtime_ns
    with start(source, output) as second:
        wait_until(lambda: len(list(tmp_path.glob("out.parquet.partial/*/00000[01].parquet"))) == 2)
        assert part.stat().st_mtime_ns == written
        said = second.communicate()
    assert second.returncode == 0
    assert "16,384 images" in said[1]
    found = parquet.read_table(output)
    assert found["id"].to_pylist() == [f"in.npy[{n}]" for n in range(len(images))]
    expected = Classifier(MODEL).predict(images[:100]).labels
    assert found["label"].to_pylist() == 500 * expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "out.parquet"]


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from pipeline.batch import score\n"
        "score.run(sys.argv[1:2], Path('out.parquet'), sys.argv[2], normalise=False)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # KiB
    )
    peaks, counts = [], (20_000, 100_000)
    for count in counts:  # 16 and 78 MB of pixels
        path = tmp_path / "in.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, 28, 28)).flush()
        command = [sys.executable, "-c", program, str(path), str(MODEL)]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        peaks.append(1024 * int(result.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < (counts[1] - counts[0]) * 28 * 28 / 2


@pytest.mark.timeout(120)
def test_it_can_be_stopped_while_a_read_blocks(tmp_path: Path) -> None:
    """A pipe without a writer stands in for a network file system whose server is gone."""
    program = (
        "import os, sys; from pipeline.__main__ import main\n"
        "from pipeline.batch.readers import files\n"
        "def wait(path): os.mkfifo('pipe'); return open('pipe', 'rb').read()\n"
        "files.read_file = wait\n"
        "sys.argv = ['', 'score', 'a.png', '-o', 'out', '--model', sys.argv[1]]\n"
        "main()"
    )
    (tmp_path / "a.png").touch()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(MODEL)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as process:
        wait_until((tmp_path / "pipe").exists)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
