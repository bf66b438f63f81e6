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
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.batch import predict as command
from pipeline.batch.finding import find_files
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.inference.session import OnnxModel
from pipeline.pictures import sources
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
        share = float(row[2].strip(">%")) / 100
        assert share == pytest.approx(max(shares), abs=0.001)
        assert share < 1


@needs_model
@pytest.mark.parametrize("name", ["digits.idx", "digits.idx.gz", "x-idx3-ubyte", "x-idx3-ubyte.gz"])
def test_an_idx_file_is_read_right_and_told_as_json(tmp_path: Path, ten: Images, name: str) -> None:
    content = idx.encode(ten)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    result = predict(tmp_path, "--format=jsonl", name)
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
    result = predict(tmp_path, "--format", "jsonl", "9.png", "two.idx", "0.png")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    expected = [("9.png", 9), ("two.idx[0]", 5), ("two.idx[1]", 6), ("0.png", 0)]
    assert [(answer["image"], answer["digit"]) for answer in answers] == expected


@needs_model
def test_a_picture_comes_from_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", "--format=jsonl", "-"]
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
    result = predict(tmp_path, "--format=csv", "[0-9].png")
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
    result = predict(tmp_path, "--format", output, ".", "missing.png")
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first == "error: 3.png cannot be read as images: it is no picture (PNG, JPEG, BMP, TIFF)"
    assert second == "error: missing.png: no such file"
    found = [
        re.search(r"(\d)\.png\W+(?:digit\W+)?(\d)", line) for line in result.stdout.splitlines()
    ]
    assert [match.groups() for match in found if match] == [(d, d) for d in "012456789"]


@needs_model
def test_every_page_and_every_image_of_an_array_has_an_answer_or_an_error(
    tmp_path: Path, ten: Images
) -> None:
    first, *others = map(Image.fromarray, ten[[3, 7, 9]])
    first.save(tmp_path / "fax.tif", save_all=True, append_images=others)
    array = np.stack([ten[5], np.zeros((28, 28), np.uint8), ten[6]])
    np.save(tmp_path / "array.npy", array)
    result = predict(tmp_path, "--normalise", "--format=csv", "fax.tif", "array.npy")
    rows = [line.split(",")[:2] for line in result.stdout.splitlines()[1:]]
    pages = [["fax.tif[0]", "3"], ["fax.tif[1]", "7"], ["fax.tif[2]", "9"]]
    assert rows == [*pages, ["array.npy[0]", "5"], ["array.npy[2]", "6"]]
    assert (result.returncode, result.stderr) == (2, "error: array.npy[1]: no ink found\n")


@needs_model
@pytest.mark.parametrize("name", ["digits.csv", "digits.jsonl", "digits.txt", "new/digits.json"])
def test_answers_go_to_a_file_in_the_format_of_its_name(
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


@needs_model
def test_names_without_a_match_are_told_and_the_others_answered(
    tmp_path: Path, ten: Images
) -> None:
    write_pictures(tmp_path, ten[:1], "png")
    (tmp_path / "empty").mkdir()
    result = predict(tmp_path, "--format=csv", "*.bmp", "empty", "0.png", "1.png")
    assert result.returncode == 2
    assert result.stdout.splitlines()[1].startswith("0.png,0,")
    said = ["*.bmp", "empty has no files of images", "1.png: no such file"]
    for line, words in zip(result.stderr.splitlines(), said, strict=True):
        assert line.startswith("error: ")
        assert words in line


@needs_model
@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_names_of_any_bytes_are_told_in_any_locale(tmp_path: Path, ten: Images, form: str) -> None:
    for name in (b"\xff.png", "\xe9.png".encode()):
        Image.fromarray(ten[4]).save(io := tmp_path / "a.png")
        io.rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    (tmp_path / os.fsdecode(b"\xfe.png")).write_bytes(b"no picture")
    strict = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = predict(tmp_path, "--format", form, ".", **strict)
    assert result.returncode == 2
    assert r"\udcff.png" in result.stdout.replace(r"\\", "\\")
    assert len(re.findall(r"\.png\W+(?:digit\W+)?4", result.stdout)) == 2
    assert "cannot be read as images: it is no picture" in result.stderr


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["."], ["a.png", "b.JPG", "deep/c.tif", "deep/d.npy", "deep/t10k-images-idx3-ubyte.gz"]),
        (["deep"], ["deep/c.tif", "deep/d.npy", "deep/t10k-images-idx3-ubyte.gz"]),
        (["*.png"], ["a.png"]),
        (["**/*.tif", "a.png"], ["deep/c.tif", "a.png"]),
        (["**/*.png"], ["a.png"]),
        (["__MACOSX/*.png", ".hidden.png"], ["__MACOSX/z.png", ".hidden.png"]),
        (["*"], ["a.png", "b.JPG", "notes.txt"]),
        (["odd[1].png"], ["odd[1].png"]),
        (["-", "missing.png"], ["-", "missing.png"]),
    ],
    ids=" ".join,
)
def test_files_are_found_by_name_folder_and_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], found: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("deep", ".cache", "__MACOSX"):
        Path(folder).mkdir()
    names = ["a.png", "b.JPG", "notes.txt", "deep/c.tif", "deep/d.npy", "deep/labels.csv"]
    names += ["deep/t10k-images-idx3-ubyte.gz", "deep/t10k-labels-idx1-ubyte.gz"]
    names += [".hidden.png", "deep/._c.tif", ".cache/x.png", "__MACOSX/z.png"]
    for name in [*names, *(name for name in asked if name.startswith("odd"))]:
        Path(name).touch()
    assert find_files(asked).files == found


def test_what_a_folder_has_beside_images_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.webp", "c.WEBP", "d.heic", "Makefile", ".DS_Store", "e.parquet"):
        (tmp_path / name).touch()
    find_files([str(tmp_path)]).tell()
    said = "left out: 2 .webp, 1 .heic, 1 .parquet, 1 without suffix\n"
    assert capsys.readouterr().err == said
    assert find_files([str(tmp_path)], tables=True).files[1:] == [str(tmp_path / "e.parquet")]


def test_of_many_kinds_of_files_the_most_frequent_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "1.h", "2.h", "1.g", "1.f", "1.e", "1.d", "1.c", "1.b", "1.a"):
        (tmp_path / name).touch()
    find_files([str(tmp_path)]).tell()
    said = "left out: 2 .h, 1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 2 of other kinds\n"
    assert capsys.readouterr().err == said


def test_links_to_folders_are_followed_to_each_folder_once(tmp_path: Path) -> None:
    scans, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    (scans / "a").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (scans / "a/1.png", elsewhere / "2.png"):
        path.touch()
    (scans / "0-again").symlink_to("a")
    (scans / "itself").symlink_to(".")
    (scans / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(scans)
    assert find_files([str(scans)]).files == [f"{scans}/a/1.png", f"{scans}/linked/2.png"]


@needs_model
def test_a_subfolder_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is longer than the system takes, which stops root, too."""
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


@needs_model
@pytest.mark.timeout(60)
def test_a_pipe_is_read_by_name_but_not_out_of_a_folder(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, ten[4:5], "png")
    os.mkfifo(tmp_path / "pipe.png")
    result = predict(tmp_path, "--format=csv", ".")
    assert result.returncode == 2
    assert result.stderr == "error: pipe.png is a pipe or a device, not a file\n"
    assert result.stdout.splitlines()[1].startswith("0.png,4,")
    words = f"-m pipeline predict --model {MODEL} --format=csv <(cat 0.png)"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    piped = subprocess.run(
        ["bash", "-c", f"{sys.executable} {words}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert re.search(r"^/dev/fd/\d+,4,", piped.stdout, re.MULTILINE)


@needs_model
@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stream_is_told(tmp_path: Path, closed: str) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "a.png")
    words = f"-m pipeline predict --model {MODEL} - a.png {closed}"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} {words}"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert re.fullmatch(r"error: standard (in|out)put is closed.*\n", result.stderr)


@needs_model
def test_without_standard_error_there_are_answers_still(tmp_path: Path) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "a.png")
    words = f"-m pipeline predict --model {MODEL} --format=csv missing.png a.png 2>&-"
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} {words}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (result.returncode, result.stdout.splitlines()[1][:8]) == (2, "a.png,0,")


def test_a_file_larger_than_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.npy"
    path.touch()
    os.truncate(path, 1 << 42)  # takes no room on disk
    with pytest.raises(UserError, match=r"large\.npy is too large for the memory that is free"):
        sources.read_file(path)
    monkeypatch.setattr(sources, "_room", lambda: 100 << 10)
    with Path("/dev/zero").open("rb") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        monkeypatch.setattr(sys.stdin, "buffer", endless, raising=False)
        with pytest.raises(UserError, match="standard input is too large"):
            sources.read_images(Path("-"))


def test_a_file_may_take_half_of_the_memory_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels need the other half."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=200))
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert sources.read_file(path) == bytes(100)
    path.write_bytes(bytes(101))
    with pytest.raises(UserError, match="file is too large for the memory that is free"):
        sources.read_file(path)


def test_what_comes_behind_a_packed_file_is_left_aside(tmp_path: Path) -> None:
    images = make_digits(3, seed=1)[0]
    content = idx.encode(images)
    packed = gzip.compress(content[:99]) + gzip.compress(content[99:])
    for tail in (b"", b"\r\n", bytes(512), b"\x1e\x8b"):
        (tmp_path / "a.idx.gz").write_bytes(packed + tail)
        assert (sources.read_images(tmp_path / "a.idx.gz") == images).all()
    (tmp_path / "a.idx.gz").write_bytes(packed[:-9])
    with pytest.raises(UserError, match="it ends too early"):
        sources.read_images(tmp_path / "a.idx.gz")


def test_the_type_of_an_idx_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "int32.idx").write_bytes(b"\0\0\x0c\x03" + bytes(12))
    with pytest.raises(UserError, match="the data type is 0x0c"):
        sources.read_images(tmp_path / "int32.idx")


@needs_model
def test_a_reader_that_stops_early_ends_it_quietly(tmp_path: Path, ten: Images) -> None:
    np.save(tmp_path / "many.npy", np.tile(ten, (500, 1, 1)))
    command = (
        f"{sys.executable} -m pipeline predict --model {MODEL} --format jsonl many.npy | head -n 1"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    result = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert json.loads(result.stdout)["image"] == "many.npy[0]"
    assert result.stderr == ""


@needs_model
def test_many_files_show_a_progress_bar_on_a_terminal(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, np.tile(ten, (20, 1, 1)), "png")
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "predict",
        "--model",
        str(MODEL),
        "--format",
        "csv",
        ".",
    ]
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
        (["empty.png"], ["empty.png is empty"]),
        (["wide.png"], ["wide.png", "40 x 30", "28 x 28", "--normalise"]),
        (["white.png", "--normalize"], ["white.png: no ink found"]),
        (["folder"], ["folder", "no files of images"]),
        (["*.bmp"], ["*.bmp"]),
        (["good.png", ""], ["an empty name"]),
        (["good.png", "--output", ""], ["--output", "an empty name"]),
        (["good.png", "--model", ""], ["--model", "an empty name"]),
        (["good.png", "--output", "csv"], ["--format csv"]),
        (["good.png", "--output", "digits.parquet"], ["digits.parquet", "`score` writes Parquet"]),
        (["https://server/digit.png"], ["https://server/digit.png", "download"]),
        (["digits.parquet"], ["digits.parquet", "`score` reads"]),
        (["rows.npy"], ["[9, 784]", "images.reshape(-1, 28, 28)"]),
        (["wide.npy"], ["wide.npy", "40 x 30", "--normalise"]),
        (["/dev/zero"], ["/dev/zero is a pipe or a device"]),
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
    Image.new("L", (40, 30), 255).save("white.png")
    Path("empty.png").touch()
    Path("digits.parquet").write_bytes(b"PAR1")
    np.save("rows.npy", np.zeros((9, 784), np.uint8))
    np.save("wide.npy", np.zeros((9, 30, 40), np.uint8))
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
