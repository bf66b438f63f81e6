"""score reads inputs of any size and kind without loss, and resumes after an interruption."""

import errno
import gzip
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import filelock
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from tqdm import tqdm

import pipeline
from pipeline.batch import score
from pipeline.batch.input_files import find_input_files
from pipeline.batch.output import summary
from pipeline.batch.readers import shards
from pipeline.batch.readers.opening import open_shards
from pipeline.batch.readers.shards import fingerprint_of
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.inference.classifier import Classifier
from pipeline.inference.session import OnnxModel
from pipeline.mnist import TASK
from pipeline.pictures import reading
from pipeline.registry import open_classifier
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits
from tests.services import png

pytestmark = needs_model
FORM = TASK.form


def pages(count: int) -> bytes:
    """A TIFF with this number of digits."""
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


def scored(source: Path, *, whole: bool = True) -> dict[str, list[Any]]:
    """Score an input; returns the output columns. `whole`: whether every image is readable."""
    output = source.with_name("out.parquet")
    assert score.run([source], output, str(MODEL), normalise=False) is whole
    columns: dict[str, list[Any]] = parquet.read_table(output).to_pydict()
    return columns


def digits_of(images: Images) -> list[int | None]:
    """The digit that each image shows; None if the model finds none."""
    labels = Classifier(MODEL).predict(images).labels
    return [None if label is None else int(label) for label in labels]


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
def test_every_image_of_every_kind_of_input_is_scored_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    images = make_digits(25, seed=1)[0]
    source, output = tmp_path / name, tmp_path / "new/out.parquet"
    output.parent.mkdir()
    FORMS[name](source, images)
    assert score.run([source], output, str(MODEL), normalise=False)
    found = parquet.read_table(output).to_pydict()
    if name == "folder":
        order = sorted(range(25), key=lambda n: f"{n % 3}/{n:05}")
        assert found["id"] == [f"{n % 3}/{n:05}.png" for n in order]
        images = images[order]
    else:
        assert found["id"] == [f"{name}[{n}]" for n in range(25)]
    model = OnnxModel(MODEL)
    expected = model.run(images)[1]
    with_many = OnnxModel(MODEL, "auto").run(images)[1]  # by another provider, if it works here
    rows = np.array(found["probabilities"])
    differences = [np.abs(rows - answer).max(1) for answer in (expected, with_many)]
    assert np.minimum(*differences).max() <= 1e-6
    assert found["digit"] == digits_of(images)
    assert found["confidence"] == [max(row) for row in found["probabilities"]]
    assert found["error"] == [None] * 25
    assert set(found["model_sha256"]) == {model.sha256}
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.parquet"]
    assert ": 25 images, " in capsys.readouterr().out


def test_ids_of_every_type_are_kept(tmp_path: Path) -> None:
    images = make_digits(20, seed=1)[0]
    numbers = pa.array([None, *range(101, 120)])
    write_parquet(tmp_path / "in.parquet", structs(images), id=numbers, label=numbers)
    ids = scored(tmp_path / "in.parquet")["id"]
    assert ids == ["in.parquet[0]", *(str(n) for n in range(101, 120))]
    durations = pa.array([2**62, 1], pa.duration("s"))  # beyond the range of Python's `timedelta`
    write_parquet(tmp_path / "in.parquet", structs(images[:2]), id=durations)
    assert scored(tmp_path / "in.parquet")["id"] == [str(2**62), "1"]


@pytest.mark.parametrize("kind", ["folder", "files.parquet"])
def test_unreadable_images_have_an_error_and_the_rest_an_answer(tmp_path: Path, kind: str) -> None:
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
    said = ["not a picture", "is empty", "cannot be read", "30 x 40", "3 images", "3 pages"]
    for row, words in zip(rows, [None, *said, None], strict=True):
        assert (row["error"] is None) is (words is None)
        assert words is None or words in row["error"]
        answers = {row["digit"], row["verdict"], row["confidence"], row["probabilities"] and 0}
        assert (answers == {None}) is (words is not None)
    assert score.run([source], output, str(MODEL), normalise=True) is False
    row = parquet.read_table(output).to_pylist()[4]
    fields = ("digit", "verdict", "confidence", "set", "novelty", "probabilities", "error")
    assert [row[key] for key in fields] == [None, "no ink", *[None] * 5]


TENSOR = pa.fixed_shape_tensor(pa.uint8(), [28, 28])
KINDS: dict[str, Callable[[Images], pa.Array]] = {
    "tensor": lambda images: pa.ExtensionArray.from_storage(
        TENSOR, pa.array(images.reshape(-1, 784).tolist(), TENSOR.storage_type)
    ),
    "dictionary": lambda images: pa.array(map(png, images)).dictionary_encode(),
    "view": lambda images: pa.array(map(png, images), pa.binary_view()),
    "large": lambda images: pa.array(map(png, images), pa.large_binary()),
    "list-view": lambda images: pa.array(
        images.tolist(), pa.list_view(pa.large_list_view(pa.uint8()))
    ),
    "bytes": lambda images: pa.array([image.tobytes() for image in images], pa.binary(784)),
    "channel": lambda images: pa.array(images[..., None].tolist()),
    "floats": lambda images: pa.array((images / 255).reshape(-1, 784).tolist()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_type_are_read_and_nulls_are_row_errors(tmp_path: Path, kind: str) -> None:
    images = make_digits(10, seed=1)[0]
    column = KINDS[kind](images)
    nulls = (np.arange(10) == 4) & (kind != "tensor")  # PyArrow does not read nulls of tensors
    if nulls.any():
        values = [None if null else v for v, null in zip(column.to_pylist(), nulls, strict=True)]
        column = pa.array(values, column.type)
    write_parquet(tmp_path / "in.parquet", column)
    found = scored(tmp_path / "in.parquet", whole=kind == "tensor")
    digits = zip(digits_of(images), nulls, strict=True)
    assert found["digit"] == [None if null else digit for digit, null in digits]
    assert [error for error in found["error"] if error] == (
        [] if kind == "tensor" else ["in.parquet[4]: the row is null"]
    )


def test_rows_without_valid_pixels_are_errors_and_the_rest_answered(tmp_path: Path) -> None:
    flat = make_digits(1, seed=1)[0].reshape(784).tolist()
    rows = [flat, flat[1:], [], [None, *flat[1:]], [256, *flat[1:]], [-1, *flat[1:]], flat]
    write_parquet(tmp_path / "in.parquet", pa.array(rows))
    found = scored(tmp_path / "in.parquet", whole=False)
    assert found["digit"] == [0, None, None, None, None, None, 0]
    said = ["783 pixels", "0 pixels", "pixels are missing", "from 0 to 256", "from -1 to 254"]
    for error, words in zip(found["error"][1:-1], said, strict=True):
        assert words in error


def test_a_path_without_bytes_is_an_error(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "/far/away.png"}, {"bytes": b"", "path": None}, None]
    write_parquet(tmp_path / "in.parquet", pa.array(rows))
    errors = scored(tmp_path / "in.parquet", whole=False)["error"]
    for error, words in zip(errors, ["no bytes", "is empty", "is null"], strict=True):
        assert words in error


@pytest.mark.parametrize("row", [0, 3, 9])
def test_an_invalid_array_row_is_an_error(tmp_path: Path, row: int) -> None:
    images = make_digits(10, seed=1)[0] / 255
    images[row, 5, 5] = np.nan
    np.save(tmp_path / "in.npy", images)
    digits: list[int | None] = [*digits_of(make_digits(10, seed=1)[0])]
    digits[row] = None
    assert scored(tmp_path / "in.npy", whole=False)["digit"] == digits


@pytest.mark.parametrize("size", ["FILES", "PIXELS"])
def test_ids_are_numbered_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setattr(f"pipeline.batch.readers.parquet.{size}", 3)
    images = make_digits(20, seed=1)[0]
    column = structs(images) if size == "FILES" else pa.array(images.tolist())
    write_parquet(tmp_path / "in.parquet", column)  # in groups of 7
    found = scored(tmp_path / "in.parquet")
    assert found["id"] == [f"in.parquet[{n}]" for n in range(20)]
    assert found["digit"] == digits_of(images)


@pytest.mark.parametrize("name", ["folder", "digits.idx", "bytes.npy"])
def test_shards_of_several_batches_are_joined_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(shards, "BATCH", 16)  # of files an eighth: two
    monkeypatch.setattr(shards, "SHARD", 32)
    images = make_digits(75, seed=1)[0]
    FORMS[name](tmp_path / name, images)
    kept: list[list[str]] = []
    join = score._join

    def watched(paths: list[Path], *others: Any) -> Any:
        kept.append([path.name for path in paths])
        return join(paths, *others)

    monkeypatch.setattr(score, "_join", watched)
    found = scored(tmp_path / name)
    order = list(range(75))
    if name == "folder":
        order.sort(key=lambda n: f"{n % 3}/{n:05}")
        assert found["id"] == [f"{n % 3}/{n:05}.png" for n in order]
    else:
        assert found["id"] == [f"{name}[{n}]" for n in order]
    assert found["digit"] == digits_of(images[order])
    assert kept == [[f"{shard:06}.parquet" for shard in range(3)]]


def test_a_folder_can_mix_pictures_arrays_and_parquet_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_digits(10, seed=1)[0]
    source, output = tmp_path / "in", tmp_path / "out.parquet"
    (source / "deep").mkdir(parents=True)
    (source / "a.png").write_bytes(png(images[0]))
    (source / "b-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx.encode(images[1:3])))
    np.save(source / "c.npy", images[3])
    write_parquet(source / "deep/part-0.parquet", pa.array(images[4:6].tolist()))
    write_parquet(source / "deep/part-1.parquet", structs(images[6:7]))
    (source / "deep/part-2.parquet").write_bytes(b"PAR1 and no more")
    (source / "labels.csv").write_text("1,2,3")
    assert not score.run([source], output, str(MODEL), normalise=False)
    found = parquet.read_table(output).to_pydict()
    idx3, parts = "b-images-idx3-ubyte.gz", "deep/part-{}.parquet"
    ids = ["a.png", f"{idx3}[0]", f"{idx3}[1]", "c.npy"]
    ids += [f"{parts.format(n)}[{row}]" for n, row in [(0, 0), (0, 1), (1, 0)]]
    assert found["id"] == [*ids, parts.format(2)]
    digits = digits_of(images)
    assert found["digit"] == [*digits[:7], None]
    said = capsys.readouterr()
    assert said.err.startswith("ignored: 1 .csv\nerror: deep/part-2.parquet cannot be read")
    names = [f"{source}/a.png", f"{source}/deep/*-0.parquet", "none*.png", f"{source}/c.npy"]
    assert not score.run(names, output, str(MODEL), normalise=False)
    assert parquet.read_table(output)["digit"].to_pylist() == [digits[n] for n in (0, 4, 5, 3)]
    assert "none*.png" in capsys.readouterr().err
    assert score.run([source / "a.png"], output, str(MODEL), normalise=False)
    assert parquet.read_table(output)["id"].to_pylist() == ["a.png"]


@pytest.mark.parametrize(("images", "rows"), [(5, shards.SHARD), (5, 2), (3, 2)])
def test_the_first_three_errors_are_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    images: int,
    rows: int,
) -> None:
    monkeypatch.setattr(score, "SHARD", rows)  # rows joined at a time
    write_folder(tmp_path / "in", np.tile(make_digits(1, seed=1)[0], (images, 2, 2)))
    scored(tmp_path / "in", whole=False)
    _, *said = capsys.readouterr().err.splitlines()
    for reason in said[:3]:
        assert re.search("56 x 56 pixels .*28 x 28; --normalise ", reason)
    assert len(said) == min(images, 4)
    assert images <= 3 or said[3].endswith(f"column error of {tmp_path}/out.parquet")


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.npy")
    np.save(tmp_path / "a.npy", make_digits(2, seed=1)[0])
    (tmp_path / "a.npy").rename(tmp_path / name)
    write_parquet(tmp_path / "a.parquet", structs(make_digits(2, seed=1)[0]))
    (tmp_path / "a.parquet").rename(tmp_path / name.replace("npy", "parquet"))
    for source in (name, name.replace("npy", "parquet")):
        output = tmp_path / f"out{name}.{source[2:]}"
        assert score.run([tmp_path / source], output, str(MODEL), normalise=False)
        with output.open("rb") as file:
            ids = parquet.read_table(file)["id"].to_pylist()
        assert ids[0] == source.replace(name[0], r"\udcff") + "[0]"


def test_odd_files_in_a_folder_do_not_stop_scoring(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    (source / "a.png").write_bytes(png(make_digits(1, seed=1)[0][0]))
    (source / "dangling.png").symlink_to("nowhere.png")
    (source / "itself").symlink_to(".")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.png")).write_bytes(b"no picture")
    rows = scored(source, whole=False)
    assert rows["id"] == ["a.png", "dangling.png", r"\udcff.png"]
    assert [error is None for error in rows["error"]] == [True, False, False]


def test_a_damaged_parquet_page_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    write_parquet(path, structs(make_digits(20, seed=1)[0]))
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"in\.parquet cannot be read"):
        scored(path)


def test_repeated_values_are_stored_once(tmp_path: Path) -> None:
    """Otherwise the model's 64 characters in every row would dominate the file."""
    np.save(tmp_path / "in.npy", make_digits(20, seed=1)[0])
    scored(tmp_path / "in.npy")
    group = parquet.read_metadata(tmp_path / "out.parquet").row_group(0)
    columns = [group.column(n) for n in range(group.num_columns)]
    repeated = {column.path_in_schema for column in columns if column.has_dictionary_page}
    lists = {"set.list.element"}
    assert repeated == {"label", "digit", "verdict", "error", "model_sha256"} | lists


def test_scoring_uses_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "open_classifier", opened := Mock(wraps=open_classifier))
    np.save(tmp_path / "in.npy", make_digits(1, seed=1)[0])
    scored(tmp_path / "in.npy")
    assert opened.call_args.kwargs["threads"] == 0  # one per core


@pytest.mark.parametrize("name", ["a.npy", "b.npy", "c.png"])
def test_a_change_of_any_file_changes_the_fingerprint_of_a_folder(
    tmp_path: Path, name: str
) -> None:
    for array in ("a.npy", "b.npy"):
        np.save(tmp_path / array, make_digits(2, seed=1)[0])
    (tmp_path / "c.png").write_bytes(png(make_digits(1, seed=1)[0][0]))
    names = [str(tmp_path / file) for file in ("a.npy", "b.npy", "c.png")]
    before = open_shards([tmp_path], names, tmp_path, FORM, normalise=False).fingerprint
    assert open_shards([tmp_path], names, tmp_path, FORM, normalise=False).fingerprint == before
    os.utime(tmp_path / name, ns=(0, 1))
    assert open_shards([tmp_path], names, tmp_path, FORM, normalise=False).fingerprint != before


@pytest.mark.parametrize("what", ["name", "size", "time"])
def test_name_size_and_time_determine_the_fingerprint(tmp_path: Path, what: str) -> None:
    path = tmp_path / "in.npy"
    path.write_bytes(b"old")
    os.utime(path, ns=(10**18, 10**18))
    before = fingerprint_of([path])
    assert fingerprint_of([path]) == before
    if what == "size":
        path.write_bytes(b"longer")
    elif what == "name":
        path = path.rename(tmp_path / "on.npy")
    os.utime(path, ns=(10**18, 10**18 + (what == "time")))
    assert fingerprint_of([path]) != before


@pytest.mark.parametrize("name", ["large.npy", "folder", "files.parquet"])
def test_pictures_are_normalised(tmp_path: Path, name: str) -> None:
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
    if name != "folder":  # which has another order
        assert found.tolist() == same.tolist()
    assert sorted(found) == sorted(same)


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `in` with a 3 and a 7, and its finished shard in out.parquet.partial."""
    source = tmp_path / "in"
    source.mkdir()
    for name, image in zip("ab", make_digits(10, seed=1)[0][[3, 7]], strict=True):
        (source / f"{name}.png").write_bytes(png(image))
    with monkeypatch.context() as full_disk:

        def fail(*arguments: object) -> int:
            raise OSError(28, "No space left on device")

        full_disk.setattr(score, "_join", fail)
        with pytest.raises(OSError, match="No space left"):
            score.run([source], tmp_path / "out.parquet", str(MODEL), normalise=False)
    return tmp_path


def other_input(folder: Path) -> None:
    (folder / "in/a.png").write_bytes(png(make_digits(10, seed=2)[0][5]))


def other_name(folder: Path) -> None:
    (folder / "in/a.png").rename(folder / "in/a2.png")  # same position in the order


def other_model(folder: Path) -> None:
    """The same network with other metadata, as after another training."""
    shutil.copy(MODEL, folder / "other.onnx")
    with (folder / "other.onnx").open("ab") as file:
        file.write(b"\x32\x01x")  # producer_version: the file stays valid


def no_change(folder: Path) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    "change", [no_change, other_input, other_name, other_model, "options", "code", "runtime"]
)
def test_shards_are_reused_only_for_the_same_input_model_options_and_code(
    interrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None] | str,
) -> None:
    if callable(change):
        change(interrupted)
    model = MODEL if change is not other_model else interrupted / "other.onnx"
    if change == "code":
        copy = shutil.copytree(Path(pipeline.__file__).parent, interrupted / "pipeline")
        (copy / "pictures/images.py").write_text("# another one")
        monkeypatch.setattr(pipeline, "__file__", str(copy / "__init__.py"))
    if change == "runtime":
        monkeypatch.setattr("onnxruntime.__version__", "0.0")
    output = interrupted / "out.parquet"
    score.run([interrupted / "in"], output, str(model), normalise=change == "options")
    assert ("changed" in capsys.readouterr().err) is (change is not no_change)
    rows = parquet.read_table(output).to_pylist()
    assert [row["id"] for row in rows] == sorted(
        path.name for path in (interrupted / "in").iterdir()
    )
    assert {row["model_sha256"] for row in rows} == {sha256(model)}
    expected = [5, 7] if change is other_input else [3, 7]
    assert [row["digit"] for row in rows] == expected
    assert not (interrupted / "out.parquet.partial").exists()


def test_progress_includes_images_scored_before(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bars: list[tqdm[Any]] = []

    class Shown(tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(score, "tqdm", Shown)
    scored(interrupted / "in")
    assert "2 images are already scored" in capsys.readouterr().err
    np.save(interrupted / "new.npy", make_digits(30, seed=1)[0])
    score.run([interrupted / "new.npy"], interrupted / "out", str(MODEL), normalise=False)
    assert "already scored" not in capsys.readouterr().err
    assert [(bar.initial, bar.n, bar.total) for bar in bars] == [(2, 2, 2), (0, 30, 30)]


@pytest.mark.parametrize("size", [0, 4, 300, -1])
def test_a_truncated_shard_is_scored_again(interrupted: Path, size: int) -> None:
    (part,) = interrupted.glob("out.parquet.partial/*/000000.parquet")
    os.truncate(part, size % part.stat().st_size)
    assert scored(interrupted / "in")["digit"] == [3, 7]


def test_a_damaged_shard_is_reported_and_then_scored_again(interrupted: Path) -> None:
    (part,) = interrupted.glob("out.parquet.partial/*/000000.parquet")
    content = bytearray(part.read_bytes())
    content[4:200] = bytes(196)
    part.write_bytes(content)
    with pytest.raises(UserError, match=r"000000\.parquet .*damaged"):
        scored(interrupted / "in")
    assert scored(interrupted / "in")["digit"] == [3, 7]


def test_a_disk_error_while_joining_keeps_the_shards(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable(parquet.ParquetFile):  # type: ignore[misc]
        def iter_batches(self, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(score, "ParquetFile", Unreadable)
        with pytest.raises(OSError, match="Input/output error"):
            score.run([interrupted / "in"], interrupted / "out", str(MODEL), normalise=False)
    assert len(list(interrupted.glob("out.partial/*/000000.parquet"))) == 1


def test_an_interrupted_decompression_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.idx.gz"
    images = np.random.default_rng(1).integers(0, 256, (3000, 28, 28), np.uint8)
    source.write_bytes(gzip.compress(idx.encode(images), 1))

    def stop(file: Any) -> Iterator[bytes]:
        yield next(pieces(file))
        raise KeyboardInterrupt

    pieces = reading.decompress
    with monkeypatch.context() as interrupt:
        interrupt.setattr("pipeline.batch.readers.opening.decompress", stop)
        with pytest.raises(KeyboardInterrupt):
            open_shards([source], [str(source)], tmp_path, FORM, normalise=False)
    assert open_shards([source], [str(source)], tmp_path, FORM, normalise=False).images == 3000
    monkeypatch.setattr(
        "pipeline.batch.readers.opening.decompress", None
    )  # complete, so not called
    assert open_shards([source], [str(source)], tmp_path, FORM, normalise=False).images == 3000


def test_the_old_output_stays_readable_until_replaced(interrupted: Path) -> None:
    output = interrupted / "out.parquet"
    output.write_text("the old one")
    with output.open() as reader:
        score.run([interrupted / "in"], output, str(MODEL), normalise=False)
        assert reader.read() == "the old one"
    assert parquet.read_metadata(output).num_rows == 2


def test_writing_to_a_link_replaces_its_target(interrupted: Path) -> None:
    (interrupted / "store").mkdir()
    (interrupted / "link").symlink_to("store/scores")
    for _ in range(2):  # the target exists only the second time
        assert score.run([interrupted / "in"], interrupted / "link", str(MODEL), normalise=False)
        assert (interrupted / "link").is_symlink()
        assert parquet.read_metadata(interrupted / "store/scores").num_rows == 2


def device(folder: Path) -> None:
    """A link to a terminal, a device that requires no privileges."""
    _, terminal = os.openpty()
    (folder / "device").symlink_to(os.ttyname(terminal))


def protected(folder: Path) -> None:
    (folder / "protected").write_text("important")
    (folder / "protected").chmod(0o444)


FORBIDDEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "device": (device, "a pipe or a device"),
    "pipe": (lambda folder: os.mkfifo(folder / "pipe"), "a pipe or a device"),
    "folder": (lambda folder: (folder / "folder").mkdir(), "is a folder"),
    "protected": (protected, "read-only"),
    "loop": (lambda folder: (folder / "loop").symlink_to("loop"), "cannot be written"),
    "in/a.png": (no_change, "is an input"),
    "twin": (lambda folder: os.link(folder / "in/b.png", folder / "twin"), "is an input"),
    "link": (lambda folder: (folder / "link").symlink_to("in/a.png"), "is an input"),
    "in/new.png": (no_change, "would be read as"),
    "in/deep/scores.parquet": (no_change, "would be read as"),
    "out.parquet.partial/scores": (no_change, "which `score` removes"),
    "scores.csv": (no_change, "`score` writes Parquet"),
    "new/scores.parquet": (no_change, "new first$"),
    "": (no_change, "empty"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_an_output_never_overwrites_inputs_or_protected_files(interrupted: Path, name: str) -> None:
    prepare, said = FORBIDDEN[name]
    prepare(interrupted)
    before = {path: path.is_file() and path.read_bytes() for path in sorted(interrupted.rglob("*"))}
    output = interrupted / name if name else name
    with pytest.raises(UserError, match=said):
        score.run([interrupted / "in"], output, str(MODEL), normalise=False)
    after = {path: path.is_file() and path.read_bytes() for path in sorted(interrupted.rglob("*"))}
    assert after == before


@pytest.mark.parametrize("source", ["in", "missing"])
def test_foreign_files_in_the_partial_folder_are_kept(interrupted: Path, source: str) -> None:
    thesis = interrupted / "mine.parquet.partial/thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    (interrupted / "file.partial").write_text("years of work")
    for name, said in {"mine.parquet": "thesis.txt", "file": "file.partial"}.items():
        with pytest.raises(UserError, match=said):
            score.run([interrupted / source], interrupted / name, str(MODEL), normalise=False)
    assert thesis.read_text() == (interrupted / "file.partial").read_text() == "years of work"


def test_files_added_to_the_partial_folder_during_scoring_are_kept(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, join = interrupted / "out.parquet.partial/note.txt", score._join

    def join_and_note(*arguments: Any) -> Any:
        note.write_text("mine")
        return join(*arguments)

    monkeypatch.setattr(score, "_join", join_and_note)
    scored(interrupted / "in")
    assert list(note.parent.iterdir()) == [note]


def test_the_partial_folder_of_the_next_process_is_kept(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process recreates the folder and its lock as soon as they are removed."""
    lock, unlink = interrupted / "out.parquet.partial/lock", Path.unlink

    def unlink_and_begin(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path == lock:
            path.touch()

    monkeypatch.setattr(Path, "unlink", unlink_and_begin)
    scored(interrupted / "in")
    assert lock.exists()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", make_digits(5, seed=1)[0])
    (tmp_path / "out.parquet.partial").mkdir()
    with (
        filelock.FileLock(tmp_path / "out.parquet.partial/lock"),
        pytest.raises(UserError, match="another process"),
    ):
        scored(tmp_path / "in.npy")
    assert len(scored(tmp_path / "in.npy")["id"]) == 5


def nothing(path: Path) -> None:
    """Create no input."""


def cut(path: Path) -> None:
    """Write a truncated array."""
    np.save(path, np.zeros((9, 28, 28)))
    os.truncate(path, 999)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.npy": (nothing, "no such file or folder"),
    "empty": (lambda path: path.mkdir(), "has no image files"),
    "empty.npy": (lambda path: path.touch(), "IDX, .npy or Parquet"),
    "pipe.npy": (os.mkfifo, "is a pipe or a device, not a file: save it"),
    "cut.npy": (cut, "cannot be read"),
    "cut.idx": (
        lambda path: path.write_bytes(idx.encode(np.zeros((9, 28, 28), np.uint8))[:-1]),
        "cannot be read",
    ),
    "cut.idx.gz": (
        lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03" * 99)[:-5]),
        "cannot be decompressed",
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
    "wide.npy": (lambda path: np.save(path, np.zeros((9, 30, 40))), "30 x 40 pixels"),
    "pickle.npy": (lambda path: np.save(path, np.array([{}])), "cannot be read"),
    "above-one.npy": (lambda path: np.save(path, np.full((9, 28, 28), 255.0)), "divide by 255"),
    "other.parquet": (
        lambda path: parquet.write_table(pa.table({"a": [1], "b": [2]}), path),
        "a, b, .*called image",
    ),
    "twice.parquet": (
        lambda path: parquet.write_table(pa.table([[b"a"], [b"b"]], ["image", "image"]), path),
        "image, image, .*several",
    ),
    "ids.parquet": (
        lambda path: parquet.write_table(
            pa.table([[b"a"], ["1"], ["2"]], ["image", "id", "id"]), path
        ),
        "several columns called id",
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
        r"pixel0, .*pixel7, ... \(785 in all\), ",
    ),
}


@pytest.mark.parametrize(("name", "said"), [("", "empty"), ("-", "standard input")])
def test_an_empty_name_and_standard_input_are_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        score.run([name], tmp_path / "out.parquet", str(MODEL), normalise=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_input_is_reported_and_leaves_no_files(tmp_path: Path, name: str) -> None:
    make, said = UNUSABLE[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}.*{said}"):
        scored(tmp_path / name)
    assert list(tmp_path.glob("out.*")) == []


def test_large_pictures_are_read_in_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "in.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (300, 280, 280))[:, 100:180, 140] = 255
    large = open_shards([path], [str(path)], tmp_path, FORM, normalise=True)
    size = next(large.batches(0)).ids
    assert len(size) == 81  # as many pixels as 8192 images


@pytest.mark.parametrize(("count", "expected"), [(31, 1), (32, 1), (33, 2)])
@pytest.mark.parametrize("name", ["folder", "bytes.npy"])
def test_inputs_are_split_into_shards_and_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int, expected: int
) -> None:
    monkeypatch.setattr(shards, "BATCH", 16)
    monkeypatch.setattr(shards, "SHARD", 32)
    FORMS[name](tmp_path / name, make_digits(count, seed=1)[0])
    files = find_input_files([str(tmp_path / name)]).files
    found = open_shards([tmp_path / name], files, tmp_path, FORM, normalise=False)
    assert (found.images, len(found)) == (count, expected)
    sizes = [len(ids) for shard in range(expected) for ids, *_ in found.batches(shard)]
    assert (sum(sizes), max(sizes)) == (count, 16 if name == "bytes.npy" else 2)


@pytest.mark.parametrize(
    ("images", "unreadable", "said"),
    [(1, 0, "a: 1 image, "), (1_000, 0, "a: 1,000 images, "), (2, 1, "2 images, 1 could not")],
)
def test_the_last_line_counts_the_images(images: int, unreadable: int, said: str) -> None:
    assert said in summary("a", images, unreadable)
