"""predict classifies common files and reports those that it cannot read."""

import csv
import gzip
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from pipeline.batch import predict as command
from pipeline.cli import main
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits

pytestmark = needs_model
Predict = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Predict]:
    """Run `python -m pipeline predict` with the released model in a folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> "CompletedProcess[str]":
        words = ["pipeline", "predict", "--model", str(MODEL), *arguments]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        return CompletedProcess(words, int(end.value.code or 0), *capsys.readouterr())

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write_pictures(folder: Path, images: Images, kind: str) -> list[str]:
    names = [f"{number}.{kind}" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff", "webp", "gif"])
def test_pictures_are_classified_and_shown_in_a_table(
    predict: Predict, tmp_path: Path, ten: Images, kind: str
) -> None:
    names = write_pictures(tmp_path, ten, kind)
    result = predict(*names)
    assert (result.returncode, result.stderr) == (0, "")
    head, _, *rows = [line.split() for line in result.stdout.splitlines()]
    fields = ["label", "digit", "confidence", "set", "novelty", "verdict"]
    assert head == ["image", *fields, *map(str, range(10))]
    assert [row[0] for row in rows] == names
    assert [(row[1], int(row[2])) for row in rows] == [(str(n), n) for n in range(10)]
    for row in rows:
        shares = [float(cell) for cell in row[7:]]
        assert sum(shares) == pytest.approx(1, abs=0.006)  # ten numbers with three decimals
        share = float(row[3].strip(">%")) / 100
        assert share == pytest.approx(max(shares), abs=0.001)
        assert share < 1


@pytest.mark.parametrize("name", ["digits.idx", "digits.idx.gz", "x-idx3-ubyte", "x-idx3-ubyte.gz"])
def test_idx_files_are_classified_and_written_as_json_lines(
    predict: Predict, tmp_path: Path, ten: Images, name: str
) -> None:
    content = idx.encode(ten)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    result = predict("--format=jsonl", name)
    assert (result.returncode, result.stderr) == (0, "")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["digit"] for answer in answers] == list(range(10))
    assert [answer["image"] for answer in answers] == [f"{name}[{n}]" for n in range(10)]
    for answer in answers:
        shares = answer["probabilities"]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares[answer["digit"]] == max(shares) == answer["confidence"]


def test_files_of_several_kinds_are_answered_in_order(
    predict: Predict, tmp_path: Path, ten: Images
) -> None:
    write_pictures(tmp_path, ten, "png")
    (tmp_path / "two.idx").write_bytes(idx.encode(ten[[5, 6]]))
    result = predict("--format", "jsonl", "9.png", "two.idx", "0.png")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    expected = [("9.png", 9), ("two.idx[0]", 5), ("two.idx[1]", 6), ("0.png", 0)]
    assert [(answer["image"], answer["digit"]) for answer in answers] == expected


def test_answers_are_written_as_csv(predict: Predict, tmp_path: Path, ten: Images) -> None:
    names = write_pictures(tmp_path, ten, "png")
    result = predict("--format=csv", "[0-9].png")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(row["image"], int(row["digit"])) for row in rows] == [
        *zip(names, range(10), strict=True)
    ]
    for row in rows:
        assert float(row[row["digit"]]) == float(row["confidence"]) > 0.5


@pytest.mark.parametrize("output", ["table", "jsonl", "csv"])
def test_unreadable_files_are_reported_and_the_rest_answered(
    predict: Predict, tmp_path: Path, ten: Images, output: str
) -> None:
    write_pictures(tmp_path, ten, "png")
    (tmp_path / "3.png").write_text("not a picture")
    result = predict("--format", output, ".", "missing.png")
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("error: 3.png cannot be read as images: ")
    assert second == "error: missing.png: no such file"
    found = [
        re.search(r"(\d)\.png\W+(?:label\W+)?(\d)", line) for line in result.stdout.splitlines()
    ]
    assert [match.groups() for match in found if match] == [(d, d) for d in "012456789"]


def test_every_page_and_array_image_has_an_answer_or_an_error(
    predict: Predict, tmp_path: Path, ten: Images
) -> None:
    first, *others = map(Image.fromarray, ten[[3, 7, 9]])
    first.save(tmp_path / "fax.tif", save_all=True, append_images=others)
    array = np.stack([ten[5], np.zeros((28, 28), np.uint8), ten[6]])
    np.save(tmp_path / "array.npy", array)
    (tmp_path / "notes.png").write_text("no picture")
    result = predict("--normalise", "--format=csv", "fax.tif", "array.npy", "notes.png")
    rows = [line.split(",")[:2] for line in result.stdout.splitlines()[1:]]
    pages = [["fax.tif[0]", "3"], ["fax.tif[1]", "7"], ["fax.tif[2]", "9"]]
    assert rows == [*pages, ["array.npy[0]", "5"], ["array.npy[1]", ""], ["array.npy[2]", "6"]]
    assert result.returncode == 2
    assert result.stderr.startswith("error: notes.png")


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_a_picture_without_ink_is_an_answer(predict: Predict, tmp_path: Path, form: str) -> None:
    Image.new("L", (40, 30), 255).save(tmp_path / "white.png")
    result = predict("white.png", "--normalise", "--format", form)
    assert (result.returncode, result.stderr) == (0, "")
    assert "no ink" in result.stdout


@pytest.mark.parametrize("name", ["digits.csv", "digits.jsonl", "digits.txt", "digits.json"])
def test_the_output_file_name_determines_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ten: Images, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, ten, "png")
    assert command.run(["."], str(MODEL), normalise=False, output=name)
    text = Path(name).read_text()
    if "json" in name:
        assert [json.loads(line)["digit"] for line in text.splitlines()] == list(range(10))
    elif "csv" in name:
        assert [int(row["digit"]) for row in csv.DictReader(text.splitlines())] == list(range(10))
    else:
        assert text.startswith("image ")
    Path("digits.csv").write_text("worth keeping")
    with pytest.raises(UserError, match="is not written: no image could be read"):
        command.run(["missing.png"], str(MODEL), normalise=False, output="digits.csv")
    assert Path("digits.csv").read_text() == "worth keeping"
    with pytest.raises(UserError, match=r"0\.png is an input"):
        command.run(["."], str(MODEL), normalise=False, output="0.png")


def test_names_without_a_match_are_reported_and_the_rest_answered(
    predict: Predict, tmp_path: Path, ten: Images
) -> None:
    write_pictures(tmp_path, ten[:1], "png")
    (tmp_path / "empty").mkdir()
    result = predict("--format=csv", "*.bmp", "empty", "0.png", "1.png")
    assert result.returncode == 2
    assert result.stdout.splitlines()[1].startswith("0.png,0,")
    said = ["*.bmp", "empty has no image files", "1.png: no such file"]
    for line, words in zip(result.stderr.splitlines(), said, strict=True):
        assert line.startswith("error: ")
        assert words in line


def test_an_unreadable_subfolder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is longer than the system permits, which affects even root."""
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(17):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    Path("lost.png").touch()
    os.chdir(tmp_path)
    assert not command.run([str(tmp_path)], str(MODEL), normalise=False)
    said = capsys.readouterr()
    assert "a.png" in said.out
    assert "cannot be read: File name too long" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png"], ["missing.png", "no such file"]),
        (["empty.png"], ["empty.png is empty"]),
        (["wide.png"], ["wide.png", "30 x 40", "28 x 28", "--normalise"]),
        (["folder"], ["folder", "no image files"]),
        (["*.bmp"], ["*.bmp"]),
        (["good.png", ""], ["empty"]),
        (["good.png", "--output", ""], ["--output", "empty"]),
        (["good.png", "--model", ""], ["--model", "empty"]),
        (["good.png", "--output", "new/labels.csv"], ["new/labels.csv", "folder new"]),
        (["good.png", "--output", "csv"], ["--format csv"]),
        (["good.png", "--output", "digits.parquet"], ["digits.parquet", "`score` writes Parquet"]),
        (["https://server/digit.png"], ["https://server/digit.png", "download"]),
        (["digits.parquet"], ["digits.parquet", "`score`"]),
        (["rows.npy"], ["[9, 784]", "images.reshape(-1, 28, 28)"]),
        (["wide.npy"], ["wide.npy", "30 x 40", "--normalise"]),
        (["/dev/zero"], ["/dev/zero is a pipe or a device"]),
        (["good.png", "--model", "missing.onnx"], ["missing.onnx"]),
        (["good.png", "--model", "text.onnx"], ["text.onnx"]),
        (["good.png", "--model", "models/other.onnx"], ["models/SHA256SUMS", "other.onnx"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_user_error_is_one_line_and_exit_status_2(
    predict: Predict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(make_digits(1, seed=1)[0][0]).save("good.png")
    Image.new("L", (40, 30)).save("wide.png")
    Path("empty.png").touch()
    Path("digits.parquet").write_bytes(b"PAR1")
    np.save("rows.npy", np.zeros((9, 784), np.uint8))
    np.save("wide.npy", np.zeros((9, 30, 40), np.uint8))
    Path("text.onnx").write_text("not a model")
    Path("SHA256SUMS").write_text(f"{sha256(Path('text.onnx'))}  text.onnx\n")
    Path("models").mkdir()
    shutil.copy(MODEL, "models/other.onnx")
    shutil.copy("SHA256SUMS", "models")
    Path("folder").mkdir()
    result = predict(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert not Path("new").exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert [word for word in said if word not in line] == []
