"""IDX files, valid and broken, and the output of prepare."""

import csv
import gzip
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from pipeline.config import Prepare
from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.task import ImageForm, LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK, data
from pipeline.stages import prepare
from tests.digits import make_digits, write_mirror

Array = NDArray[np.uint8]

COUNTS = {"train": 30, "t10k": 20}
CALIBRATION = 5  # images
FILES = [f"{s}-{kind}-ubyte.gz" for s in COUNTS for kind in ("images-idx3", "labels-idx1")]
OUTPUTS = [
    *("data/train.safetensors", "data/calibration.safetensors", "data/test.safetensors"),
    "data/test-hashes.safetensors",
    *("reports/prepare/samples.png", "reports/prepare/classes.csv"),
]
IDX_FILE = idx.encode(np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5))
HEADER = 4 + 3 * 4


@pytest.fixture(scope="module")
def small_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    write_mirror(folder, COUNTS["train"], COUNTS["t10k"])
    return folder


@pytest.fixture
def workspace(small_mirror: Path, tmp_path: Path) -> Workspace:
    """A workspace with the four files in data/raw."""
    workspace = Workspace(tmp_path)
    shutil.copytree(small_mirror, workspace.raw)
    return workspace


@pytest.fixture
def raw(workspace: Workspace) -> Path:
    return workspace.raw


def run(
    workspace: Workspace,
    training_images: int = COUNTS["train"],
    test_images: int = COUNTS["t10k"],
) -> None:
    prepare.run(workspace, counts_of(training_images, test_images), TASK)


def counts_of(training_images: int, test_images: int) -> Prepare:
    return Prepare(
        training_images=training_images, calibration_images=CALIBRATION, test_images=test_images
    )


def outputs(workspace: Workspace) -> dict[str, bytes]:
    """The files that the stage has written."""
    paths = {name: workspace.root / name for name in OUTPUTS}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def rewrite(path: Path, change: Callable[[Array], Array], dimensions: int) -> None:
    """Change the array in a gzip-compressed IDX file."""
    array = idx.decode(gzip.decompress(path.read_bytes()), dimensions)
    path.write_bytes(gzip.compress(idx.encode(change(array)), mtime=0))


def test_idx_files_are_read_as_specified() -> None:
    array = idx.decode(bytes.fromhex("00000802 00000002 00000003 0102030405ff"), 2)
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2, 3], [4, 5, 255]]


@given(
    arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)), st.booleans()
)
def test_arrays_round_trip(array: Array, transposed: bool) -> None:
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
        (3, 1, "1 dimensions, not 3: .*labels"),
        (3, 4, "4 dimensions, not 3$"),
        (7, 4, "4 x 4 x 5 .* 60 bytes"),
        (11, 0, "3 x 0 x 5 .* 60 bytes"),
        (12, 0x80, "3 x 4 x 2147483653 .* 60 bytes"),
    ],
)
def test_a_wrong_header_field_is_reported(position: int, value: int, complaint: str) -> None:
    broken = bytearray(IDX_FILE)
    broken[position] = value
    with pytest.raises(ValueError, match=complaint):
        idx.decode(bytes(broken), 3)


@pytest.mark.parametrize("position", range(HEADER))
def test_any_changed_header_byte_is_detected(position: int) -> None:
    for change in range(1, 256):
        broken = bytearray(IDX_FILE)
        broken[position] ^= change
        with pytest.raises(ValueError, match=r"not|does not fit"):
            idx.decode(bytes(broken), 3)


@pytest.mark.parametrize("length", range(len(IDX_FILE)))
def test_truncated_files_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="header" if length < HEADER else "3 x 4 x 5 .* bytes"):
        idx.decode(IDX_FILE[:length], 3)


@pytest.mark.parametrize("extra", [b"\0", IDX_FILE])
def test_files_with_extra_bytes_are_refused(extra: bytes) -> None:
    with pytest.raises(ValueError, match=r"3 x 4 x 5 .* bytes"):
        idx.decode(IDX_FILE + extra, 3)


def test_the_test_set_contains_the_images_and_labels_of_the_files(workspace: Workspace) -> None:
    run(workspace)
    images, labels = make_digits(COUNTS["t10k"], 2)
    tensors = load_file(workspace.test_set)
    assert tensors.keys() == {"images", "labels"}
    np.testing.assert_array_equal(tensors["images"], images, strict=True)
    np.testing.assert_array_equal(tensors["labels"], labels, strict=True)


def test_each_training_image_is_for_training_or_for_calibration(workspace: Workspace) -> None:
    """Thresholds from images that a network was trained on would promise too much."""
    run(workspace)
    sets = [load_file(path) for path in (workspace.training_set, workspace.calibration_set)]
    assert [len(each["images"]) for each in sets] == [COUNTS["train"] - CALIBRATION, CALIBRATION]
    pairs = [
        (image.tobytes(), int(label))
        for each in sets
        for image, label in zip(each["images"], each["labels"], strict=True)
    ]
    images, labels = make_digits(COUNTS["train"], 1)
    expected = [(i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True)]
    assert sorted(pairs) == sorted(expected)


def test_the_calibration_images_are_drawn_at_random() -> None:
    """Published sets may be sorted; conformal prediction requires exchangeable images."""
    numbers = np.arange(250, dtype=np.uint8)
    data = LabelledImages(numbers[:, None, None], numbers)
    rest, drawn = prepare.split(data, 100)
    counts = np.histogram(drawn.labels, 5, (0, 250))[0]
    assert counts.sum() == 100
    assert counts.min() > 8
    assert (np.diff(drawn.labels.astype(int)) > 1).any()
    assert [len(each.images) for each in (rest, drawn)] == [len(rest.labels), 100]


def without_sevens(labels: Array) -> Array:
    return np.where(labels == 7, 1, labels).astype(np.uint8)


def test_the_reports_show_every_class(
    workspace: Workspace, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(raw / FILES[3], without_sevens, 1)
    run(workspace)
    assert re.search("warning: the test set .*'7'\n", capsys.readouterr().out)
    with (workspace.prepare_reports / "classes.csv").open() as file:
        rows = {int(row.pop("label")): row for row in csv.DictReader(file)}
    test = dict.fromkeys(range(10), 2) | {1: 4, 7: 0}
    assert {d: int(row["test_images"]) for d, row in rows.items()} == test
    assert {
        d: int(row["training_images"]) + int(row["calibration_images"]) for d, row in rows.items()
    } == dict.fromkeys(range(10), 3)
    assert sum(int(row["calibration_images"]) for row in rows.values()) == CALIBRATION
    with Image.open(workspace.prepare_reports / "samples.png") as sheet:
        assert sheet.width > sheet.height > 400
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 50  # grey levels


def test_a_class_without_training_images_is_refused(workspace: Workspace, raw: Path) -> None:
    rewrite(raw / FILES[1], without_sevens, 1)
    with pytest.raises(UserError, match=r"^the training set .*'7'$"):
        run(workspace)
    assert not outputs(workspace)


def test_mean_and_std_are_measured_and_compared_with_the_task(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = make_digits(COUNTS["train"], 1)[0] / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    counts = counts_of(COUNTS["train"], COUNTS["t10k"])
    for task, warned in (
        (replace(TASK, mean=mean, std=std), False),
        (replace(TASK, mean=mean + 0.002, std=std), True),
        (replace(TASK, mean=mean, std=std - 0.002), True),
    ):
        prepare.run(workspace, counts, task)
        printed = capsys.readouterr().out
        assert f"mean={mean:.4f}, std={std:.4f}\n" in printed
        assert ("warning: pipeline.mnist" in printed) == warned


@pytest.mark.parametrize("shape", [(28, 20, 5), (5, 20, 28), (5, 28, 20, 1), (28, 20)])
def test_wrong_axes_are_reported_with_the_expected_shape(shape: tuple[int, ...]) -> None:
    task = replace(TASK, form=ImageForm(height=28, width=20, ink=18))
    images, labels = np.zeros(shape, np.uint8), np.zeros(5, np.uint8)
    prepare.check(LabelledImages(np.zeros((5, 28, 20), np.uint8), labels), 5, "training", task)
    with pytest.raises(UserError, match=re.escape(f"{list(shape)}, not [N, 28, 20]")):
        prepare.check(LabelledImages(images, labels), 5, "training", task)


def test_the_same_images_produce_the_same_bytes(workspace: Workspace, raw: Path) -> None:
    run(workspace)
    first = outputs(workspace)
    assert len(first) == len(OUTPUTS)
    for name in FILES:  # the same content, compressed differently
        content = gzip.decompress((raw / name).read_bytes())
        (raw / name).write_bytes(gzip.compress(content, compresslevel=1, mtime=12345))
    for name in OUTPUTS:
        (workspace.root / name).unlink()
    run(workspace)
    assert outputs(workspace) == first


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_reported(name: str, workspace: Workspace, raw: Path) -> None:
    (raw / name).unlink()
    with pytest.raises(UserError, match=f"{raw / name} is missing"):
        run(workspace)


@pytest.mark.parametrize("name", [FILES[0], FILES[3]])
@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:5], id="truncated gzip header"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data[:-8], id="without checksum and length"),
        pytest.param(lambda data: data[:-1], id="one byte short"),
        pytest.param(lambda data: data + b"more", id="trailing data"),
        pytest.param(lambda data: data + data, id="twice"),
        pytest.param(gzip.decompress, id="not compressed"),
        pytest.param(lambda data: b"<!doctype html><title>Log in</title>", id="a web page"),
        pytest.param(lambda data: gzip.compress(b""), id="compressed empty file"),
    ],
)
def test_a_broken_file_is_reported_and_nothing_is_written(
    break_it: Callable[[bytes], bytes], name: str, workspace: Workspace, raw: Path
) -> None:
    path = raw / name
    path.write_bytes(break_it(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path} is corrupt: [^\n]*fetch it again[^\n]*$"):
        run(workspace)
    assert not outputs(workspace)


@pytest.mark.parametrize("name", [FILES[0], FILES[3]])
def test_a_flipped_bit_is_detected_or_harmless(name: str, raw: Path) -> None:
    path = raw / name
    content = path.read_bytes()
    prefix = name.split("-", maxsplit=1)[0]
    images, labels = data.read_set(raw, prefix)
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
            now = data.read_set(raw, prefix)
        except UserError as error:
            complaints[bit] = str(error)
        else:
            np.testing.assert_array_equal(now[0], images)
            np.testing.assert_array_equal(now[1], labels)
    assert complaints.keys() >= set(range(bits - trailer, bits))
    assert len(complaints.keys() & sample) > 0.9 * len(sample)
    assert all(str(path) in complaint for complaint in complaints.values())


@pytest.mark.parametrize(("name", "of"), [(FILES[1], "training"), (FILES[3], "test")])
@pytest.mark.parametrize("label", [10, 255])
def test_a_label_out_of_range_is_refused(
    label: int, name: str, of: str, workspace: Workspace, raw: Path
) -> None:
    rewrite(raw / name, lambda labels: np.append(labels[:-1], np.uint8(label)), 1)
    with pytest.raises(UserError, match=f"the {of} set has the class {label}, .* 0 to 9$"):
        run(workspace)
    assert not outputs(workspace)


@pytest.mark.parametrize(
    ("counts", "named"),
    [((31, 20), "training"), ((29, 20), "training"), ((30, 21), "test"), ((30, 19), "test")],
)
def test_a_wrong_number_of_images_is_refused(
    counts: tuple[int, int], named: str, workspace: Workspace
) -> None:
    with pytest.raises(UserError, match=rf"the {named} set has .*prepare\.{named}_images"):
        run(workspace, *counts)
    assert not outputs(workspace)


@pytest.mark.parametrize(
    ("name", "dimensions", "change", "named"),
    [
        pytest.param(FILES[1], 1, lambda labels: labels[:-1], FILES[1], id="one label too few"),
        pytest.param(FILES[3], 1, lambda n: np.append(n, n[:1]), FILES[3], id="one label too many"),
        pytest.param(FILES[0], 3, lambda images: images[:, :, 1:], "training", id="27 columns"),
        pytest.param(FILES[2], 3, lambda n: n.reshape(-1, 14, 56), "test", id="14 x 56"),
        pytest.param(FILES[0], 3, np.transpose, FILES[1], id="transposed"),
        pytest.param(FILES[2], 3, lambda images: images[:, 0, 0], FILES[2], id="one dimension"),
    ],
)
def test_a_wrong_shape_is_refused(
    name: str,
    dimensions: int,
    change: Callable[[Array], Array],
    named: str,
    workspace: Workspace,
    raw: Path,
) -> None:
    rewrite(raw / name, change, dimensions)
    with pytest.raises(UserError, match=re.escape(named)):
        run(workspace)
    assert not outputs(workspace)


def test_images_in_place_of_labels_are_refused(workspace: Workspace, raw: Path) -> None:
    shutil.copy(raw / FILES[0], raw / FILES[1])
    with pytest.raises(UserError, match=FILES[1]):
        run(workspace)
