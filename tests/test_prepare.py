"""IDX files, whole and broken, and what prepare makes of them."""

import csv
import gzip
import hashlib
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from pipeline.config import Prepare, load_params
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.paths import PREPARE_REPORTS, RAW, TEST, TRAIN
from pipeline.stages import prepare
from tests.digits import make_digits, write_mirror
from tests.workspace import PROJECT

Array = NDArray[np.uint8]

COUNTS = {"train": 30, "t10k": 20}
SETS = {"train": TRAIN, "t10k": TEST}
FILES = [f"{s}-{kind}-ubyte.gz" for s in COUNTS for kind in ("images-idx3", "labels-idx1")]
OUTPUTS = [TRAIN, TEST, PREPARE_REPORTS / "digits.png", PREPARE_REPORTS / "classes.csv"]
IDX_FILE = idx.encode(np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5))
HEADER = 4 + 3 * 4


@pytest.fixture(scope="module")
def small_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    write_mirror(folder, COUNTS["train"], COUNTS["t10k"])
    return folder


@pytest.fixture
def raw(small_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw of the working folder, with the four files in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_mirror, RAW)
    return RAW


def run(training_images: int = COUNTS["train"], test_images: int = COUNTS["t10k"]) -> None:
    prepare.run(Prepare(training_images=training_images, test_images=test_images))


def read(name: str) -> tuple[Array, Array]:
    """The set that the file `name` belongs to."""
    prefix = name.split("-", maxsplit=1)[0]
    return prepare.read_set(prefix, COUNTS[prefix])


def rewrite(path: Path, change: Callable[[Array], Array], dimensions: int) -> None:
    """Change the array in a gzip-compressed IDX file."""
    array = idx.decode(gzip.decompress(path.read_bytes()), dimensions)
    path.write_bytes(gzip.compress(idx.encode(change(array)), mtime=0))


def test_an_idx_file_is_read_as_its_specification_says() -> None:
    array = idx.decode(bytes.fromhex("00000802 00000002 00000003 0102030405ff"), 2)
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2, 3], [4, 5, 255]]


@given(
    arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)), st.booleans()
)
def test_any_array_survives_encoding(array: Array, transposed: bool) -> None:
    array = array.T if transposed else array
    decoded = idx.decode(idx.encode(array), array.ndim)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, array, strict=True)


@pytest.mark.parametrize(
    ("position", "value", "complaint"),
    [
        (0, 1, "starts with 0100, not 0000"),
        (1, 0x8B, "starts with 008b, not 0000"),
        (2, 0x09, r"data type is 0x09 \(signed byte\), not"),
        (2, 0x0C, r"data type is 0x0c \(32-bit integer\), not"),
        (2, 0x0D, r"data type is 0x0d \(32-bit float\), not"),
        (2, 0x0F, r"data type is 0x0f \(unknown\), not"),
        (3, 1, "1 dimensions, not 3: they are labels, not images"),
        (3, 4, "4 dimensions, not 3$"),
        (7, 4, "4 x 4 x 5 does not fit the 60 bytes"),
        (11, 0, "3 x 0 x 5 does not fit the 60 bytes"),
        (12, 0x80, "3 x 4 x 2147483653 does not fit the 60 bytes"),
    ],
)
def test_a_wrong_header_field_is_named(position: int, value: int, complaint: str) -> None:
    broken = bytearray(IDX_FILE)
    broken[position] = value
    with pytest.raises(ValueError, match=complaint):
        idx.decode(bytes(broken), 3)


@pytest.mark.parametrize("position", range(HEADER))
def test_no_header_byte_can_change_unnoticed(position: int) -> None:
    for change in range(1, 256):
        broken = bytearray(IDX_FILE)
        broken[position] ^= change
        with pytest.raises(ValueError, match=r"not|does not fit"):
            idx.decode(bytes(broken), 3)


@pytest.mark.parametrize("length", range(len(IDX_FILE)))
def test_no_shorter_file_is_read(length: int) -> None:
    with pytest.raises(ValueError, match="too few" if length < HEADER else "does not fit"):
        idx.decode(IDX_FILE[:length], 3)


@pytest.mark.parametrize("extra", [b"\0", IDX_FILE])
def test_no_longer_file_is_read(extra: bytes) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        idx.decode(IDX_FILE + extra, 3)


def test_both_sets_hold_the_digits_of_the_files(raw: Path) -> None:
    run()
    for seed, (prefix, path) in enumerate(SETS.items(), start=1):
        images, labels = make_digits(COUNTS[prefix], seed)
        tensors = load_file(path)
        assert tensors.keys() == {"images", "labels"}
        np.testing.assert_array_equal(tensors["images"], images, strict=True)
        np.testing.assert_array_equal(tensors["labels"], labels, strict=True)


def test_the_reports_show_every_class(raw: Path) -> None:
    rewrite(raw / FILES[1], lambda labels: np.where(labels == 7, 1, labels).astype(np.uint8), 1)
    run()
    with (PREPARE_REPORTS / "classes.csv").open() as file:
        rows = {int(row.pop("digit")): row for row in csv.DictReader(file)}
    training = dict.fromkeys(range(10), 3) | {1: 6, 7: 0}
    assert {d: int(row["training_images"]) for d, row in rows.items()} == training
    assert {d: int(row["test_images"]) for d, row in rows.items()} == dict.fromkeys(range(10), 2)
    with Image.open(PREPARE_REPORTS / "digits.png") as sheet:
        assert sheet.width > sheet.height > 400
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 50  # grey levels


def test_the_same_images_give_the_same_bytes(raw: Path) -> None:
    run()
    first = {path: path.read_bytes() for path in OUTPUTS}
    for name in FILES:  # the same content, compressed by someone else, somewhere else
        content = gzip.decompress((raw / name).read_bytes())
        (raw / name).write_bytes(gzip.compress(content, compresslevel=1, mtime=12345))
    for path in OUTPUTS:
        path.unlink()
    run()
    assert {path: path.read_bytes() for path in OUTPUTS} == first


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, raw: Path) -> None:
    (raw / name).unlink()
    with pytest.raises(UserError, match=f"{RAW / name} is missing"):
        run()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:5], id="cut in the gzip header"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut in the middle"),
        pytest.param(lambda data: data[:-8], id="without checksum"),
        pytest.param(lambda data: data[:-1], id="one byte short"),
        pytest.param(lambda data: data + b"more", id="followed by more"),
        pytest.param(lambda data: data + data, id="twice"),
        pytest.param(gzip.decompress, id="not compressed"),
        pytest.param(lambda data: b"<!doctype html><title>Log in</title>", id="a web page"),
        pytest.param(lambda data: gzip.compress(b""), id="compressed nothing"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(
    break_it: Callable[[bytes], bytes], name: str, raw: Path
) -> None:
    path = raw / name
    path.write_bytes(break_it(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path} is corrupt: [^\n]*fetch it anew[^\n]*$"):
        run()
    assert not any(output.exists() for output in OUTPUTS)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_or_harmless(name: str, raw: Path) -> None:
    path = raw / name
    content = path.read_bytes()
    images, labels = read(name)
    header, trailer = 10 * 8, 8 * 8  # bits; the trailer holds CRC and length
    bits = 8 * len(content)
    inside = range(header, bits - trailer)
    sample = random.Random(name).sample(inside, min(len(inside), 400))
    complaints = {}
    for bit in [*range(header), *sample, *range(bits - trailer, bits)]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            now = read(name)
        except UserError as error:
            complaints[bit] = str(error)
        else:
            np.testing.assert_array_equal(now[0], images)
            np.testing.assert_array_equal(now[1], labels)
    assert complaints.keys() >= set(range(bits - trailer, bits))
    assert len(complaints.keys() & sample) > 0.9 * len(sample)
    assert all(str(path) in complaint for complaint in complaints.values())


@pytest.mark.parametrize("name", [FILES[1], FILES[3]])
@pytest.mark.parametrize("label", [10, 255])
def test_a_label_that_is_no_digit_is_refused(label: int, name: str, raw: Path) -> None:
    rewrite(raw / name, lambda labels: np.append(labels[:-1], np.uint8(label)), 1)
    with pytest.raises(UserError, match=f"{name.split('-idx')[0]}.* {label}"):
        run()
    assert not TRAIN.exists()


@pytest.mark.parametrize(
    ("counts", "named"),
    [((31, 20), FILES[0]), ((29, 20), FILES[0]), ((30, 21), FILES[2]), ((30, 19), FILES[2])],
)
def test_another_number_of_images_is_refused(
    counts: tuple[int, int], named: str, raw: Path
) -> None:
    with pytest.raises(UserError, match=named):
        run(*counts)


@pytest.mark.parametrize(
    ("name", "dimensions", "change"),
    [
        pytest.param(FILES[1], 1, lambda labels: labels[:-1], id="a label less"),
        pytest.param(FILES[3], 1, lambda labels: np.append(labels, labels[:1]), id="a label more"),
        pytest.param(FILES[0], 3, lambda images: images[:, :, 1:], id="27 columns"),
        pytest.param(FILES[2], 3, lambda images: images.reshape(-1, 14, 56), id="14 x 56"),
        pytest.param(FILES[0], 3, np.transpose, id="images last"),
        pytest.param(FILES[2], 3, lambda images: images[:, 0, 0], id="one dimension"),
    ],
)
def test_another_shape_is_refused(
    name: str, dimensions: int, change: Callable[[Array], Array], raw: Path
) -> None:
    rewrite(raw / name, change, dimensions)
    with pytest.raises(UserError, match=re.escape(name)):
        run()


def test_images_in_the_place_of_labels_are_refused(raw: Path) -> None:
    shutil.copy(raw / FILES[0], raw / FILES[1])
    with pytest.raises(UserError, match=FILES[1]):
        run()


@pytest.fixture
def real_folder() -> Iterator[Path]:
    """The working folder, with real MNIST in data/raw; gone after the test."""
    names = load_params(PROJECT / "params.yaml").fetch.files
    mirrors = [PROJECT / mirror for mirror in load_params(PROJECT / "params.yaml").fetch.mirrors]
    mirror = next((m for m in mirrors if all((m / name).is_file() for name in names)), None)
    if mirror is None:
        pytest.skip("no folder in params.yaml, fetch.mirrors, has the MNIST files")
    with tempfile.TemporaryDirectory(prefix="mnist-") as scratch, chdir(scratch):
        RAW.parent.mkdir()
        RAW.symlink_to(mirror.resolve())
        yield Path(scratch)


def test_real_mnist_is_decoded_as_torchvision_does_and_is_the_set_of_the_gate(
    real_folder: Path,
) -> None:
    from torchvision.datasets import MNIST

    params = load_params(PROJECT / "params.yaml")
    prepare.run(params.prepare)
    assert hashlib.sha256(TEST.read_bytes()).hexdigest() == params.gate.test_sha256

    theirs = real_folder / "MNIST" / "raw"
    theirs.mkdir(parents=True)
    for name, md5 in MNIST.resources:
        content = (RAW / name).read_bytes()
        assert hashlib.md5(content).hexdigest() == md5
        assert hashlib.sha256(content).hexdigest() == params.fetch.files[name]
        (theirs / name).with_suffix("").write_bytes(gzip.decompress(content))
    for path, is_training in ((TRAIN, True), (TEST, False)):
        ours, reference = load_file(path), MNIST(real_folder, train=is_training)
        np.testing.assert_array_equal(ours["images"], reference.data.numpy(), strict=True)
        np.testing.assert_array_equal(ours["labels"], reference.targets.numpy())
