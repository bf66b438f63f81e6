"""predict reads digits from the files that people have, and says plainly what it cannot read."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from pipeline.errors import UserError
from pipeline.mnist import idx
from pipeline.serving.images import read_images
from pipeline.serving.session import OnnxModel
from tests.digits import make_digits
from tests.workspace import PROJECT, python

Images = NDArray[np.uint8]

MODEL = PROJECT / "models/mnist-cnn.onnx"
needs_model = pytest.mark.skipif(not MODEL.exists(), reason="models/ holds no released model")


def predict(
    folder: Path, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline predict` with the released model in a folder."""
    words = ["predict", "--model", *map(str, [MODEL, *arguments])]
    return python(folder, "-m", "pipeline", *words, **variables)


@pytest.fixture(scope="module")
def mnist() -> tuple[Images, Images]:
    """The first 200 test images of real MNIST and their labels."""
    mirrors = yaml.safe_load((PROJECT / "params.yaml").read_text())["fetch"]["mirrors"]
    names = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    for folder in [PROJECT / mirror for mirror in mirrors if "://" not in mirror]:
        if all((folder / name).exists() for name in names):
            images, labels = (gzip.decompress((folder / name).read_bytes()) for name in names)
            return idx.decode(images, 3)[:200], idx.decode(labels, 1)[:200]
    pytest.skip("no folder among fetch.mirrors of params.yaml holds MNIST")


@pytest.fixture(scope="module")
def ten(mnist: tuple[Images, Images]) -> Images:
    """A real image of each digit, in order."""
    images, labels = mnist
    return np.stack([images[labels == digit][0] for digit in range(10)])


def write_pictures(folder: Path, images: Images, kind: str) -> list[str]:
    names = [f"{number}.{kind}" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


@needs_model
@pytest.mark.parametrize("kind", ["png", "jpg"])
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
    result = predict(tmp_path, "--json", name)
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
    result = predict(tmp_path, "--json", "9.png", "two.idx", "0.png")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    expected = [("9.png", 9), ("two.idx[0]", 5), ("two.idx[1]", 6), ("0.png", 0)]
    assert [(answer["image"], answer["digit"]) for answer in answers] == expected


def damaged(kind: str, length: int) -> bytes:
    """A picture of a digit, cut off after so many bytes."""
    path = Path(f"whole.{kind}")
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(path)
    return path.read_bytes()[:length]


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "text.png": lambda: b"this is no picture",
    "empty.png": lambda: b"",
    "cut-in-header.png": lambda: damaged("png", 30),
    "cut-in-data.png": lambda: damaged("png", 100),
    "cut.jpg": lambda: damaged("jpg", 400),
    "text.idx": lambda: b"this is no IDX file",
    "cut.idx": lambda: idx.encode(make_digits(3, seed=1)[0])[:-1],
    "labels.idx": lambda: idx.encode(make_digits(3, seed=1)[1]),
    "cut.idx.gz": lambda: gzip.compress(idx.encode(make_digits(3, seed=1)[0]))[:-20],
    "text.idx.gz": lambda: b"this is no gzip file",
    "no-images.idx": lambda: idx.encode(np.zeros((0, 28, 28), np.uint8)),
    "no-rows.idx": lambda: idx.encode(np.zeros((3, 0, 28), np.uint8)),
    "no-columns.idx": lambda: idx.encode(np.zeros((3, 28, 0), np.uint8)),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("normalise", [False, True])
def test_what_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, normalise: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(UNREADABLE[name]())
    with pytest.raises(UserError, match=name):
        read_images(Path(name), normalise=normalise)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_no_damage_to_a_picture_ends_in_anything_but_a_clear_error(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"digit.{kind}"
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        flipped = bytes([whole[place] ^ 0x55])
        for content in (whole[:place], whole[:place] + flipped + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                images = read_images(path, normalise=True)
            except UserError as error:
                assert path.name in str(error)  # noqa: PT017
            else:
                assert images.shape == (1, 28, 28)


def other_model(input_name: str, kind: int, shape: list[str | int]) -> bytes:
    """A valid ONNX file that is not of this project."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [input_name], ["same"])],
        "other",
        [helper.make_tensor_value_info(input_name, kind, shape)],
        [helper.make_tensor_value_info("same", kind, shape)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION - 1
    )
    return bytes(model.SerializeToString())


MODELS: dict[str, Callable[[], bytes]] = {
    "text.onnx": lambda: b"this is no model",
    "empty.onnx": lambda: b"",
    "cut.onnx": lambda: MODEL.read_bytes()[:50_000],
    "another-input.onnx": lambda: other_model("x", TensorProto.FLOAT, ["N", 3]),
    "another-type.onnx": lambda: other_model("images", TensorProto.FLOAT, ["N", 28, 28]),
    "another-output.onnx": lambda: other_model("images", TensorProto.UINT8, ["N", 28, 28]),
}


@needs_model
def test_a_picture_comes_from_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", "--json", "-"]
    image = make_digits(1, seed=1)[0][0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    with (tmp_path / "digit.png").open("rb") as picture:
        answer = subprocess.run(command, cwd=PROJECT, stdin=picture, capture_output=True)
    assert json.loads(answer.stdout)["image"] == "-"
    assert json.loads(answer.stdout)["digit"] == OnnxModel(MODEL).run(image[None])[0].argmax()
    broken = subprocess.run(command, cwd=PROJECT, input=b"no picture", capture_output=True)
    assert broken.returncode == 2
    assert broken.stderr.startswith(b"error: - is no picture that can be read")


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
@pytest.mark.parametrize("name", MODELS)
def test_a_file_that_is_no_digit_model_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(MODELS[name]())
    with pytest.raises(UserError, match=name):
        OnnxModel(tmp_path / name).run(make_digits(2, seed=1)[0])


@needs_model
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png"], ["missing.png", "no such file"]),
        (["folder"], ["folder"]),
        (["wide.png"], ["wide.png", "40 x 30", "28 x 28", "--normalise"]),
        (["good.png", "cut.png"], ["cut.png"]),
        (["good.png", "--model", "missing.onnx"], ["missing.onnx"]),
        (["good.png", "--model", "text.onnx"], ["text.onnx"]),
        (["good.png", "--model", "other.onnx"], ["other.onnx"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_line_and_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(make_digits(1, seed=1)[0][0]).save("good.png")
    Image.new("L", (40, 30)).save("wide.png")
    Path("cut.png").write_bytes(damaged("png", 100))
    Path("text.onnx").write_text("this is no model")
    Path("other.onnx").write_bytes(other_model("x", TensorProto.FLOAT, ["N", 3]))
    Path("folder").mkdir()
    result = predict(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert [word for word in said if word not in line] == []


def accuracy(
    folder: Path,
    mnist: tuple[Images, Images],
    picture: Callable[[Images], Image.Image],
    kind: str = "png",
    **options: Any,
) -> float:
    """How many real digits are read right with --normalise when saved as such a picture."""
    images, labels = mnist
    path = folder / f"digit.{kind}"
    normalised = []
    for image in images:
        picture(image).save(path, **options)
        normalised.append(read_images(path, normalise=True)[0])
    answers = OnnxModel(MODEL).run(np.stack(normalised))[1].argmax(1)
    return float((answers == labels).mean())


@needs_model
@pytest.mark.parametrize("background", [0, 255], ids=["light on dark", "dark on light"])
@pytest.mark.parametrize(
    ("height", "width", "scale"), [(28, 28, 1), (90, 160, 1), (300, 200, 5)], ids=str
)
def test_normalise_finds_a_digit_wherever_it_stands(
    tmp_path: Path,
    mnist: tuple[Images, Images],
    background: int,
    height: int,
    width: int,
    scale: int,
) -> None:
    random = np.random.default_rng(1)

    def picture(image: Images) -> Image.Image:
        ink = image if background == 0 else 255 - image
        canvas = Image.new("L", (width, height), background)
        side = 28 * scale
        left, top = random.integers(0, width - side + 1), random.integers(0, height - side + 1)
        canvas.paste(Image.fromarray(ink).resize((side, side)), (int(left), int(top)))
        return canvas

    assert accuracy(tmp_path, mnist, picture) >= 0.95


def test_normalise_gives_the_form_that_mnist_has(tmp_path: Path) -> None:
    """Ink in a box of 20 x 20, its centre of mass in the middle of 28 x 28, to a pixel."""
    path = tmp_path / "digit.png"
    for image in make_digits(40, seed=1)[0]:
        canvas = Image.new("L", (150, 110), 230)
        canvas.paste(Image.fromarray(230 - image // 2).resize((70, 84)), (60, 5))
        canvas.save(path)
        (form,) = read_images(path, normalise=True).astype(float)
        rows, columns = np.nonzero(form > 64)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (18, 19, 20)
        weights = form / form.sum()
        centre = (weights.sum(1) @ np.arange(28), weights.sum(0) @ np.arange(28))
        assert centre == pytest.approx((13.5, 13.5), abs=1)
        assert form.max() > 200


PICTURES: dict[str, tuple[Callable[[Images], Image.Image], str, dict[str, Any]]] = {
    "colour": (lambda image: Image.fromarray(255 - image).convert("RGB"), "png", {}),
    "palette": (lambda image: Image.fromarray(255 - image).convert("P"), "png", {}),
    "16 bit": (lambda image: Image.fromarray((255 - image).astype(np.uint16) * 257), "png", {}),
    "transparent": (
        lambda image: Image.merge("LA", (Image.new("L", (28, 28)), Image.fromarray(image))),
        "png",
        {},
    ),
    "turned camera": (
        lambda image: (
            Image.fromarray(255 - image).resize((140, 140)).transpose(Image.Transpose.ROTATE_90)
        ),
        "jpg",
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
}


@needs_model
@pytest.mark.parametrize("name", PICTURES)
def test_dark_ink_is_read_right_however_a_picture_is_stored(
    tmp_path: Path, mnist: tuple[Images, Images], name: str
) -> None:
    picture, kind, options = PICTURES[name]
    assert accuracy(tmp_path, mnist, picture, kind, **options) >= 0.95


@needs_model
@pytest.mark.parametrize("grey", [0, 100, 255])
def test_a_blank_picture_is_answered(tmp_path: Path, grey: int) -> None:
    path = tmp_path / "blank.png"
    Image.new("L", (64, 48), grey).save(path)
    images = read_images(path, normalise=True)
    assert not images.any()
    assert OnnxModel(MODEL).run(images)[1].sum() == pytest.approx(1, abs=1e-5)


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
