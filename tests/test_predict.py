"""predict reads digits from the files that people have, and says plainly what it cannot read."""

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.files import sha256
from pipeline.mnist import idx
from pipeline.serving.session import OnnxModel
from tests.digits import Images, make_digits
from tests.workspace import MODEL, PROJECT, needs_model, python


def predict(
    folder: Path, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline predict` with the released model in a folder."""
    words = ["predict", "--model", *map(str, [MODEL, *arguments])]
    return python(folder, "-m", "pipeline", *words, **variables)


def write_pictures(folder: Path, images: Images, kind: str) -> list[str]:
    names = [f"{number}.{kind}" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


@needs_model
@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff"])
def test_ten_pictures_are_read_right_and_shown_in_a_table(
    tmp_path: Path, ten: Images, kind: str
) -> None:
    names = write_pictures(tmp_path, ten, kind)
    result = predict(tmp_path, *names)
    assert (result.returncode, result.stderr) == (0, "")
    head, _, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head == ["image", "digit", "confidence", *map(str, range(10))]
    assert [row[0] for row in rows] == names
    assert [int(row[1]) for row in rows] == list(range(10))
    for row in rows:
        shares = [float(cell) for cell in row[3:]]
        assert sum(shares) == pytest.approx(1, abs=0.006)  # ten numbers of three decimals
        assert float(row[2].removesuffix("%")) / 100 == pytest.approx(max(shares), abs=0.001)


@needs_model
@pytest.mark.parametrize("name", ["digits.idx", "digits.idx.gz", "x-idx3-ubyte", "x-idx3-ubyte.gz"])
def test_an_idx_file_is_read_right_and_told_as_json(tmp_path: Path, ten: Images, name: str) -> None:
    content = idx.encode(ten)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    result = predict(tmp_path, "--output=jsonl", name)
    assert (result.returncode, result.stderr) == (0, "")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["digit"] for answer in answers] == list(range(10))
    assert [answer["image"] for answer in answers] == [f"{name}[{n}]" for n in range(10)]
    for answer in answers:
        shares = answer["probabilities"]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares[answer["digit"]] == max(shares) == answer["confidence"]


@needs_model
def test_files_of_several_kinds_are_answered_in_their_order(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, ten, "png")
    (tmp_path / "two.idx").write_bytes(idx.encode(ten[[5, 6]]))
    result = predict(tmp_path, "-o", "jsonl", "9.png", "two.idx", "0.png")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    expected = [("9.png", 9), ("two.idx[0]", 5), ("two.idx[1]", 6), ("0.png", 0)]
    assert [(answer["image"], answer["digit"]) for answer in answers] == expected


@needs_model
def test_a_picture_comes_from_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", "--output=jsonl", "-"]
    image = make_digits(1, seed=1)[0][0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    with (tmp_path / "digit.png").open("rb") as picture:
        answer = subprocess.run(command, cwd=PROJECT, stdin=picture, capture_output=True)
    assert json.loads(answer.stdout)["image"] == "-"
    assert json.loads(answer.stdout)["digit"] == OnnxModel(MODEL).run(image[None])[0].argmax()
    broken = subprocess.run(command, cwd=PROJECT, input=b"no picture", capture_output=True)
    assert broken.returncode == 2
    assert broken.stderr.startswith(b"error: - cannot be read as images")


@needs_model
def test_answers_are_told_as_csv(tmp_path: Path, ten: Images) -> None:
    names = write_pictures(tmp_path, ten, "png")
    result = predict(tmp_path, "--output=csv", "[0-9].png")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(row["image"], int(row["digit"])) for row in rows] == [
        *zip(names, range(10), strict=True)
    ]
    for row in rows:
        assert float(row[row["digit"]]) == float(row["confidence"]) > 0.5


@needs_model
@pytest.mark.parametrize("output", ["table", "jsonl", "csv"])
def test_what_cannot_be_read_is_named_and_the_rest_answered(
    tmp_path: Path, ten: Images, output: str
) -> None:
    write_pictures(tmp_path, ten, "png")
    (tmp_path / "3.png").write_text("this is no picture")
    result = predict(tmp_path, "--output", output, ".", "missing.png")
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first == "error: 3.png cannot be read as images: it is no picture (PNG, JPEG, BMP, TIFF)"
    assert second == "error: missing.png: no such file"
    found = [
        re.search(r"(\d)\.png\W+(?:digit\W+)?(\d)", line) for line in result.stdout.splitlines()
    ]
    assert [match.groups() for match in found if match] == [(d, d) for d in "012456789"]


@needs_model
def test_a_reader_that_stops_early_ends_it_quietly(tmp_path: Path, ten: Images) -> None:
    np.save(tmp_path / "many.npy", np.tile(ten, (500, 1, 1)))
    command = f"{sys.executable} -m pipeline predict --model {MODEL} -o jsonl many.npy | head -n 1"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    result = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert json.loads(result.stdout)["image"] == "many.npy[0]"
    assert result.stderr == ""


@needs_model
def test_many_files_show_a_progress_bar_on_a_terminal(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, np.tile(ten, (20, 1, 1)), "png")
    command = [sys.executable, "-m", "pipeline", "predict", "--model", str(MODEL), "-o", "csv", "."]
    main, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        check=True,
    )
    shown = os.read(main, 10_000).decode()
    os.close(terminal)
    os.close(main)
    assert re.search(r"\d+%\|.*/200 \[.* files/s\]", shown)


@needs_model
def test_onnx_runtime_keeps_no_identifier_of_the_machine(tmp_path: Path) -> None:
    """It does so for its telemetry, if that is on (but not where CI is set)."""
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "digit.png")
    home = tmp_path / "home"
    home.mkdir()
    answer = predict(tmp_path, "digit.png", HOME=str(home), CI="", XDG_CACHE_HOME=str(home))
    assert answer.returncode == 0
    assert list(home.rglob("*")) == []


@needs_model
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png"], ["missing.png", "no such file"]),
        (["wide.png"], ["wide.png", "40 x 30", "28 x 28", "--normalise"]),
        (["folder", "good.png"], ["folder", "no files of images"]),
        (["*.bmp", "good.png"], ["*.bmp"]),
        (["good.png", "--model", "missing.onnx"], ["missing.onnx"]),
        (["good.png", "--model", "text.onnx"], ["text.onnx"]),
        (["good.png", "--model", "models/other.onnx"], ["models/SHA256SUMS", "other.onnx"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_line_and_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(make_digits(1, seed=1)[0][0]).save("good.png")
    Image.new("L", (40, 30)).save("wide.png")
    Path("text.onnx").write_text("this is no model")
    Path("SHA256SUMS").write_text(f"{sha256(Path('text.onnx'))}  text.onnx\n")
    Path("models").mkdir()
    shutil.copy(MODEL, "models/other.onnx")
    shutil.copy("SHA256SUMS", "models")
    Path("folder").mkdir()
    result = predict(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert [word for word in said if word not in line] == []


@needs_model
def test_serving_needs_no_torch(tmp_path: Path) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "digit.png")
    program = (
        f"import sys; sys.argv = ['pipeline', 'predict', '--model', {str(MODEL)!r}, 'digit.png']\n"
        "from pipeline.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded:', *sorted({'torch', 'mlflow', 'onnx'} & {*sys.modules}))"
    )
    result = python(tmp_path, "-c", program)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
