"""score reads inputs of any size, of every kind, without loss, and goes on where it was killed."""

import gzip
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from pipeline.errors import UserError
from pipeline.mnist import idx
from pipeline.serving import score
from pipeline.serving.session import OnnxModel
from pipeline.serving.shards import open_shards
from tests.digits import Images, make_digits
from tests.servers import wait_until
from tests.workspace import MODEL, PROJECT, needs_model

pytestmark = needs_model


def png(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pages(count: int) -> bytes:
    """A TIFF of so many digits."""
    file = io.BytesIO()
    first, *others = map(Image.fromarray, make_digits(count, seed=1)[0])
    first.save(file, "TIFF", save_all=True, append_images=others)
    return file.getvalue()


def write_folder(folder: Path, images: Images) -> None:
    for number, image in enumerate(images):
        path = folder / f"{number % 3}/{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    (folder / "notes.txt").write_text("no picture")


def write_parquet(path: Path, column: pa.Array, **others: pa.Array) -> None:
    table = pa.table({"image": column, **others})
    parquet.write_table(table, path, row_group_size=7)


def structs(images: Images) -> pa.Array:
    return pa.array([{"bytes": png(image), "path": f"{n}.png"} for n, image in enumerate(images)])


FORMS: dict[str, Callable[[Path, Images], object]] = {
    "digits.idx": lambda path, images: path.write_bytes(idx.encode(images)),
    "digits.idx.gz": lambda path, images: path.write_bytes(gzip.compress(idx.encode(images))),
    "bytes.npy": lambda path, images: np.save(path, images),
    "column-major.npy": lambda path, images: np.save(path, np.asfortranarray(images)),
    "floats.npy": lambda path, images: np.save(path, images / 255),
    "folder": write_folder,
    "files.parquet": lambda path, images: write_parquet(path, pa.array(map(png, images))),
    "structs.parquet": lambda path, images: write_parquet(path, structs(images)),
    "rows.parquet": lambda path, images: write_parquet(path, pa.array(images.tolist())),
    "flat.parquet": lambda path, images: write_parquet(
        path, pa.array(images.reshape(-1, 784).tolist(), pa.list_(pa.uint8(), 784))
    ),
    "floats.parquet": lambda path, images: write_parquet(path, pa.array((images / 255).tolist())),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_image_of_every_kind_of_input_is_scored_once_and_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    images = make_digits(25, seed=1)[0]
    source, output = tmp_path / name, tmp_path / "new/out.parquet"
    FORMS[name](source, images)
    assert score.run([source], output, str(MODEL), normalise=False)
    found = parquet.read_table(output).to_pydict()
    model = OnnxModel(MODEL)
    if name == "folder":
        order = sorted(range(25), key=lambda n: f"{n % 3}/{n:05}")
        assert found["id"] == [f"{n % 3}/{n:05}.png" for n in order]
        images = images[order]
    else:
        assert found["id"] == [f"{name}[{n}]" for n in range(25)]
    expected = model.run(images)[1]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert found["digit"] == expected.argmax(1).tolist()
    assert found["confidence"] == [max(row) for row in found["probabilities"]]
    assert found["error"] == [None] * 25
    assert set(found["model_sha256"]) == {model.sha256}
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.parquet"]
    assert "25 images, 0 of them could not be read" in capsys.readouterr().out


def test_ids_of_a_parquet_file_are_kept(tmp_path: Path) -> None:
    images = make_digits(20, seed=1)[0]
    numbers = pa.array([None, *range(101, 120)])
    write_parquet(tmp_path / "in.parquet", structs(images), id=numbers, label=numbers)
    score.run([tmp_path / "in.parquet"], tmp_path / "out.parquet", str(MODEL), normalise=False)
    ids = parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist()
    assert ids == ["in.parquet[0]", *(str(n) for n in range(101, 120))]


@pytest.mark.parametrize("kind", ["folder", "files.parquet"])
def test_what_cannot_be_read_has_an_error_and_the_rest_a_digit(tmp_path: Path, kind: str) -> None:
    good, wide = png(make_digits(1, seed=1)[0][0]), png(np.zeros((30, 40), np.uint8))
    several = gzip.compress(idx.encode(make_digits(3, seed=1)[0]))
    contents = [good, b"no picture", b"", good[:60], wide, several, pages(3), good]
    source, output = tmp_path / kind, tmp_path / "out.parquet"
    if kind == "folder":
        source.mkdir()
        for number, content in enumerate(contents):
            (source / f"{number}.png").write_bytes(content)
    else:
        write_parquet(source, pa.array(contents))
    assert not score.run([source], output, str(MODEL), normalise=False)
    rows = parquet.read_table(output).to_pylist()
    said = [
        None,
        "no picture",
        "is empty",
        "cannot be read",
        "40 x 30",
        "3 images",
        "3 pages",
        None,
    ]
    for row, words in zip(rows, [None, *said, None], strict=True):
        assert (row["error"] is None) is (words is None)
        assert words is None or words in row["error"]
        answers = {row["digit"], row["confidence"], row["probabilities"] and 0}
        assert (answers == {None}) is (words is not None)
    assert score.run([source], output, str(MODEL), normalise=True) is False
    row = parquet.read_table(output).to_pylist()[4]
    assert (row["digit"], row["error"]) == (None, f"{row['id']}: no ink found")


def test_odd_files_in_a_folder_stop_nothing(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    (source / "a.png").write_bytes(png(make_digits(1, seed=1)[0][0]))
    (source / "dangling.png").symlink_to("nowhere.png")
    (source / "itself").symlink_to(".")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.png")).write_bytes(b"no picture")
    assert not score.run([source], tmp_path / "out.parquet", str(MODEL), normalise=False)
    rows = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert rows["id"] == ["a.png", "dangling.png", r"\udcff.png"]
    assert [error is None for error in rows["error"]] == [True, False, False]


def test_a_damaged_page_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    write_parquet(path, structs(make_digits(20, seed=1)[0]))
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"in\.parquet cannot be read"):
        score.run([path], tmp_path / "out.parquet", str(MODEL), normalise=False)


@pytest.mark.parametrize("name", ["large.npy", "folder", "files.parquet"])
def test_pictures_are_brought_into_the_form_of_mnist(tmp_path: Path, name: str) -> None:
    images = make_digits(10, seed=1)[0]
    large = np.stack(
        [255 - np.asarray(Image.fromarray(image).resize((90, 90))) for image in images]
    )
    FORMS.get(name, FORMS["bytes.npy"])(tmp_path / name, large)
    output = tmp_path / "out.parquet"
    assert score.run([tmp_path / name], output, str(MODEL), normalise=True)
    found = parquet.read_table(output).to_pandas().set_index("id")["digit"].sort_index()
    np.save(tmp_path / "small.npy", images)
    score.run([tmp_path / "small.npy"], output, str(MODEL), normalise=True)
    same = parquet.read_table(output).to_pandas().set_index("id")["digit"].sort_index()
    if name != "folder":  # whose order is another one
        assert found.tolist() == same.tolist()
    assert sorted(found) == sorted(same)


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
def test_stopped_at_any_time_it_goes_on_without_loss_or_doubles(
    tmp_path: Path, number: signal.Signals
) -> None:
    images = np.tile(make_digits(100, seed=1)[0], (500, 1, 1))  # some seconds of work, four shards
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
    assert "16,384 images were scored before" in said[1]
    found = parquet.read_table(output)
    assert found["id"].to_pylist() == [f"in.npy[{n}]" for n in range(len(images))]
    expected = OnnxModel(MODEL).run(images[:100])[1].argmax(1)
    assert (found["digit"].to_numpy().reshape(500, 100) == expected).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "out.parquet"]


def test_what_was_scored_of_another_input_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, np.zeros((5, 28, 28), np.uint8))
    with monkeypatch.context() as full_disk:

        def fail(*arguments: object) -> int:
            raise OSError(28, "No space left on device")

        full_disk.setattr(score, "_join", fail)
        with pytest.raises(OSError, match="No space left"):
            score.run([source], output, str(MODEL), normalise=False)
    images = make_digits(5, seed=1)[0]
    np.save(source, images)
    score.run([source], output, str(MODEL), normalise=False)
    assert "from the start" in capsys.readouterr().err
    digits = parquet.read_table(output)["digit"].to_pylist()
    assert digits == OnnxModel(MODEL).run(images)[1].argmax(1).tolist()


def test_two_at_a_time_do_not_mix(tmp_path: Path) -> None:
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, make_digits(5, seed=1)[0])
    (tmp_path / "out.parquet.partial").mkdir()
    with (
        filelock.FileLock(tmp_path / "out.parquet.partial/lock"),
        pytest.raises(UserError, match="another process holds"),
    ):
        score.run([source], output, str(MODEL), normalise=False)
    assert score.run([source], output, str(MODEL), normalise=False)


def nothing(path: Path) -> None:
    """Leave the input missing."""


def cut(path: Path) -> None:
    """An array that ends too early."""
    np.save(path, np.zeros((9, 28, 28)))
    os.truncate(path, 999)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.npy": (nothing, "no such file or folder"),
    "empty": (lambda path: path.mkdir(), "has no files of images"),
    "empty.npy": (lambda path: path.touch(), "is no IDX, .npy or Parquet file"),
    "pipe.npy": (os.mkfifo, "is no file"),
    "cut.npy": (cut, "cannot be read"),
    "cut.idx": (
        lambda path: path.write_bytes(idx.encode(np.zeros((9, 28, 28), np.uint8))[:-1]),
        "cannot be read",
    ),
    "cut.idx.gz": (
        lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03" * 99)[:-5]),
        "cannot be unpacked",
    ),
    "labels.idx.gz": (
        lambda path: path.write_bytes(gzip.compress(idx.encode(np.zeros(9, np.uint8)))),
        "1 dimensions, not 3",
    ),
    "cut.parquet": (lambda path: path.write_bytes(b"PAR1 and no more"), "cannot be read"),
    "labels.idx": (
        lambda path: path.write_bytes(idx.encode(np.zeros(9, np.uint8))),
        "1 dimensions, not 3",
    ),
    "rows.npy": (lambda path: np.save(path, np.zeros((9, 784))), r"not \[9, 784\]; images.reshape"),
    "none.npy": (lambda path: np.save(path, np.zeros((0, 28, 28))), "no image"),
    "wide.npy": (lambda path: np.save(path, np.zeros((9, 30, 40))), "40 x 30 pixels"),
    "pickle.npy": (lambda path: np.save(path, np.array([{}])), "cannot be read"),
    "above-one.npy": (lambda path: np.save(path, np.full((9, 28, 28), 255.0)), "divide by 255"),
    "other.parquet": (
        lambda path: parquet.write_table(pa.table({"a": [1], "b": [2]}), path),
        "a, b, and none called image",
    ),
    "no-rows.parquet": (lambda path: write_parquet(path, pa.array([], pa.binary())), "no rows"),
    "texts.parquet": (lambda path: write_parquet(path, pa.array(["a", "b"])), "of the type string"),
    "numbers.parquet": (lambda path: write_parquet(path, pa.array([1, 2])), "of the type int64"),
    "base64.parquet": (
        lambda path: write_parquet(path, pa.array([{"bytes": "iVBORw0KGgo="}])),
        "of the type struct<bytes: string>",
    ),
    "kaggle.parquet": (
        lambda path: parquet.write_table(pa.table({f"pixel{n}": [0] for n in range(785)}), path),
        r"pixel0, .*pixel7, ... \(785 in all\), and none called image",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_input_that_cannot_be_used_is_named_and_nothing_is_left(
    tmp_path: Path, name: str
) -> None:
    make, said = UNUSABLE[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}.*{said}"):
        score.run([tmp_path / name], tmp_path / "out.parquet", str(MODEL), normalise=False)
    assert list(tmp_path.glob("out.*")) == []


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from benchmarks.footprint import peak_bytes\n"
        "from pipeline.serving import score\n"
        "score.run(sys.argv[1:2], Path('out.parquet'), sys.argv[2], normalise=False)\n"
        "print(peak_bytes())"
    )
    peaks = []
    for count in (20_000, 80_000):  # 16 and 63 MB of pixels
        path = tmp_path / "in.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, 28, 28)).flush()
        command = [sys.executable, "-c", program, str(path), str(MODEL)]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        peaks.append(int(result.stdout.split()[-1]) / 2**20)
    assert peaks[1] - peaks[0] < 20


def test_large_pictures_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "in.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (300, 280, 280))[:, 100:180, 140] = 255
    (size, *_), *_ = open_shards([path], [str(path)], tmp_path, normalise=True).batches(0)
    assert len(size) == 81  # whose pixels are as many as those of 8192 images
