"""Pictures of all kinds become images in the model's form, or a clear error."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.core import idx
from pipeline.core.errors import UserError
from pipeline.core.task import ImageForm
from pipeline.inference.session import OnnxModel
from pipeline.mnist import TASK
from pipeline.pictures.images import as_images, as_pictures, dark_on_light, in_form
from pipeline.pictures.normal_form import bring_into_form
from pipeline.pictures.reading import read_images
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits

MNIST, WIDE = TASK.form, ImageForm(height=20, width=36, ink=16)


def damaged(kind: str, length: int) -> bytes:
    """A picture of a digit, truncated to this number of bytes."""
    path = Path(f"whole.{kind}")
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(path)
    return path.read_bytes()[:length]


def saved(array: NDArray[Any], shape: str = "", claimed: str = "") -> bytes:
    """A .npy file; its header may claim another shape."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue().replace(shape.encode(), claimed.encode(), 1 if shape else 0)


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "text.png": lambda: b"not a picture",
    "empty.png": lambda: b"",
    "truncated-header.png": lambda: damaged("png", 30),
    "truncated-data.png": lambda: damaged("png", 100),
    "cut.jpg": lambda: damaged("jpg", 400),
    "text.idx": lambda: b"this is no IDX file",
    "cut.idx": lambda: idx.encode(make_digits(3, seed=1)[0])[:-1],
    "labels.idx": lambda: idx.encode(make_digits(3, seed=1)[1]),
    "cut.idx.gz": lambda: gzip.compress(idx.encode(make_digits(3, seed=1)[0]))[:-20],
    "text.idx.gz": lambda: b"this is no gzip file",
    "text.gz": lambda: gzip.compress(b"not a picture"),
    "cut.npy": lambda: saved(np.zeros((3, 28, 28), np.uint8))[:-1],
    "bigger-than-memory.npy": lambda: saved(np.zeros((1, 28, 28)), "1, 28, 28", "9" * 12),
    "pickle.npy": lambda: saved(np.array([{}])),
    "texts.npy": lambda: saved(np.array([["no", "pixels"]])),
    "complex.npy": lambda: saved(np.zeros((1, 28, 28), complex)),
    "not-a-number.npy": lambda: saved(np.full((1, 28, 28), np.nan)),
    "above-one.npy": lambda: saved(np.full((1, 28, 28), 255.0)),
    "below-zero.npy": lambda: saved(np.full((1, 28, 28), -1)),
    "above-255.npy": lambda: saved(np.full((1, 28, 28), 256)),
    "one-dimension.npy": lambda: saved(np.zeros(784)),
    "no-images.npy": lambda: saved(np.zeros((0, 28, 28))),
    "no-images.idx": lambda: idx.encode(np.zeros((0, 28, 28), np.uint8)),
    "no-rows.idx": lambda: idx.encode(np.zeros((3, 0, 28), np.uint8)),
    "no-columns.idx": lambda: idx.encode(np.zeros((3, 28, 0), np.uint8)),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("normalise", [False, True])
def test_unreadable_files_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, normalise: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(UNREADABLE[name]())
    with pytest.raises(UserError, match=name):
        read_images(Path(name), MNIST, normalise=normalise)


@pytest.mark.filterwarnings("ignore::Warning:PIL")  # about damage
@pytest.mark.parametrize(
    "kind", ["png", "jpg", "bmp", "tiff", "webp", "gif", "npy", "idx", "idx.gz"]
)
def test_damaged_files_are_read_or_reported(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"digit.{kind}"
    images = make_digits(1, seed=1)[0]
    if kind == "npy":
        np.save(path, images)
    elif "idx" in kind:
        content = idx.encode(images)
        path.write_bytes(gzip.compress(content) if "gz" in kind else content)
    else:
        Image.fromarray(images[0]).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3 if len(whole) < 600 else 11):
        flipped = bytes([whole[place] ^ 0x55])
        for content in (whole[:place], whole[:place] + flipped + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                images = read_images(path, MNIST, normalise=True)
            except UserError as error:
                assert path.name in str(error)  # noqa: PT017
            else:
                assert images.shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("kind", "divisor"), [(np.float32, 255), (np.float64, 255), (np.int64, 1), (np.uint8, 1)]
)
def test_arrays_of_every_type_are_read(tmp_path: Path, kind: type, divisor: int) -> None:
    images = make_digits(3, seed=1)[0]
    path = tmp_path / "digits.npy"
    np.save(path, (images / divisor).astype(kind))
    assert (read_images(path, MNIST) == images).all()
    np.save(path, (images[0] / divisor).astype(kind))
    assert (read_images(path, MNIST) == images[:1]).all()


def test_rounding_errors_are_tolerated() -> None:
    images = make_digits(3, seed=1)[0]
    floats = images / 255
    np.testing.assert_array_equal(as_pictures(floats * (1 + 1e-7) - 1e-9, MNIST), images)
    with pytest.raises(ValueError, match="floats from 0 to 1"):
        as_pictures(floats * 1.01, MNIST)


def test_specks_on_a_large_page_are_ignored() -> None:
    page = np.zeros((2000, 2000), np.uint8)
    page[0, 0] = page[-1, -1] = 255
    with pytest.raises(ValueError, match="no ink found"):
        bring_into_form(page, MNIST)


def test_normalising_leaves_most_of_mnist_unchanged(mnist: tuple[Images, Images]) -> None:
    """MNIST was made by the same steps."""
    forms = np.stack([bring_into_form(image, MNIST) for image in mnist[0][:100]])
    same = (forms == mnist[0][:100]).all((1, 2))
    assert same.mean() > 0.6
    assert np.abs(forms.astype(int) - mnist[0][:100]).mean() < 1  # of 255


@needs_model
def test_digits_on_larger_pictures_are_recognised(training: tuple[Images, Images]) -> None:
    """At random positions, scaled 1 to 10 times, dark on light and light on dark."""
    random = np.random.default_rng(1)
    forms = []
    for image in training[0][:60]:
        side = round(28 * 10 ** random.random())
        width, height = side + random.integers(0, 200, 2)
        left, top = random.integers(0, width - side + 1), random.integers(0, height - side + 1)
        picture = Image.new("L", (int(width), int(height)))
        picture.paste(Image.fromarray(image).resize((side, side)), (int(left), int(top)))
        forms.append(
            bring_into_form(np.asarray(picture) ^ np.uint8(255 * random.integers(0, 2)), MNIST)
        )
    digits = OnnxModel(MODEL).run(np.stack(forms))[1].argmax(1)
    assert (digits == training[1][:60]).mean() >= 0.99


PICTURES: dict[str, tuple[Callable[[Images], Image.Image], str, dict[str, Any]]] = {
    "colour": (lambda image: Image.fromarray(255 - image).convert("RGB"), "png", {}),
    "palette": (lambda image: Image.fromarray(255 - image).convert("P"), "png", {}),
    "16 bit": (lambda image: Image.fromarray((255 - image).astype(np.uint16) * 257), "png", {}),
    "32 bit": (lambda image: Image.fromarray((255 - image).astype(np.int32)), "tiff", {}),
    "float": (lambda image: Image.fromarray(1 - image.astype(np.float32) / 255), "tiff", {}),
    "transparent": (
        lambda image: Image.merge("LA", (Image.new("L", (28, 28)), Image.fromarray(image))),
        "png",
        {},
    ),
    "rotated camera": (
        lambda image: (
            Image.fromarray(255 - image).resize((140, 140)).transpose(Image.Transpose.ROTATE_90)
        ),
        "jpg",
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
}


@needs_model
@pytest.mark.parametrize("name", PICTURES)
def test_dark_ink_is_recognised_in_every_pixel_format(
    tmp_path: Path, training: tuple[Images, Images], name: str
) -> None:
    picture, kind, options = PICTURES[name]
    path = tmp_path / f"digit.{kind}"
    forms = []
    for image in training[0][:25]:
        picture(image).save(path, **options)
        forms.append(read_images(path, MNIST, normalise=True)[0])
    digits = OnnxModel(MODEL).run(np.stack(forms))[1].argmax(1)
    assert (digits == training[1][:25]).all()


SHAPES: dict[str, tuple[tuple[int, ...], str | None]] = {
    "rows": ((10, 784), r"not \[10, 784\]; images.reshape\(-1, 28, 28\)"),
    "hundreds of rows": ((100, 784), r"; images.reshape\(-1, 28, 28\)"),
    "a row": ((784,), r"not \[784\]; images.reshape\(-1, 28, 28\)"),
    "last axis": ((28, 28, 10), r"not \[28, 28, 10\]; np.moveaxis"),
    "colour": ((68, 68, 3), r"not \[68, 68, 3\]"),
    "colour, same size": ((28, 28, 3), r"not \[28, 28, 3\]$"),
    "transparent, same size": ((28, 28, 4), r"not \[28, 28, 4\]$"),
    "five on the last axis": ((28, 28, 5), r"not \[28, 28, 5\]; np.moveaxis"),
    "colours": ((5, 68, 68, 3), r"not \[5, 68, 68, 3\]"),
    "narrow": ((5, 7, 28), r"not \[5, 7, 28\]"),
    "long": ((5, 10, 101), r"not \[5, 10, 101\]"),
    "a number": ((), r"not \[\]"),
    "none": ((0, 28, 28), "no image"),
    "images": ((5, 28, 28), None),
    "an image": ((28, 28), None),
    "channel last": ((5, 28, 28, 1), None),
    "channel first": ((5, 1, 28, 28), None),
    "smallest": ((5, 8, 80), None),
}
WIDE_SHAPES: dict[str, tuple[tuple[int, ...], str | None]] = {
    "rows": ((100, 720), r"not \[100, 720\]; images.reshape\(-1, 20, 36\)"),
    "last axis": ((20, 36, 10), r"not \[20, 36, 10\]; np.moveaxis"),
    "images": ((5, 20, 36), None),
    "an image": ((20, 36), None),
    "channel last": ((5, 20, 36, 1), None),
    "sides swapped": ((36, 20), None),
}


@pytest.mark.parametrize(
    ("form", "shape", "said"),
    [
        *[pytest.param(MNIST, *case, id=name) for name, case in SHAPES.items()],
        *[pytest.param(WIDE, *case, id=f"wide {name}") for name, case in WIDE_SHAPES.items()],
    ],
)
def test_array_axes_are_interpreted_or_refused(
    form: ImageForm, shape: tuple[int, ...], said: str | None
) -> None:
    """Otherwise each row or column of pixels would be classified as a picture."""
    if said is not None:
        with pytest.raises(ValueError, match=said):
            as_pictures(np.zeros(shape, np.uint8), form)
    else:
        array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        pictures = as_pictures(array, form)
        assert pictures.ndim == 3
        np.testing.assert_array_equal(pictures.ravel(), array.ravel())
        assert pictures.shape[1:] == tuple(n for n in shape if n != 1)[-2:]


def test_pictures_of_different_sizes_are_normalised_together(ten: Images) -> None:
    wide = np.pad(ten[7], ((3, 60), (40, 9)))
    forms = in_form([ten[2], wide], MNIST, normalise=True)
    np.testing.assert_array_equal(
        forms, [bring_into_form(picture, MNIST) for picture in (ten[2], wide)]
    )
    with pytest.raises(ValueError, match=r"91 x 77 pixels .*28 x 28; --normalise "):
        in_form([ten[2], wide], MNIST, normalise=False)
    with pytest.raises(ValueError, match=r"^image \[1\]: no ink found"):
        in_form([ten[2], 0 * wide], MNIST, normalise=True)
    with pytest.raises(ValueError, match=r"^no ink found"):
        in_form([0 * wide], MNIST, normalise=True)


def test_forms_can_be_rectangular() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, *WIDE.shape), np.uint8)
    np.testing.assert_array_equal(as_images(images / 255, WIDE), images)
    np.testing.assert_array_equal(in_form(images, WIDE, normalise=False), images)
    rotated = images.transpose(0, 2, 1)
    with pytest.raises(ValueError, match=r"\[N, 20, 36\], not \[3, 36, 20\]; images.reshape"):
        as_images(rotated, WIDE)
    with pytest.raises(ValueError, match=r"36 x 20 pixels .*20 x 36"):
        in_form(rotated, WIDE, normalise=False)


def test_very_wide_forms_are_read() -> None:
    line = ImageForm(height=8, width=120, ink=8)
    assert as_pictures(np.zeros((3, 8, 120), np.uint8), line).shape == (3, 8, 120)


def test_dark_on_light_images_are_noticed(ten: Images) -> None:
    assert dark_on_light(ten) is None
    assert dark_on_light(in_form(255 - ten, MNIST, normalise=True)) is None
    warning = dark_on_light(np.stack([ten[0], 255 - ten[1], 255 - ten[2]]))
    assert (warning or "").startswith("2 of 3 ")


def test_grey_paper_counts_as_light_even_if_ink_touches_the_border() -> None:
    page = np.full((1, 28, 28), 150, np.uint8)
    page[:, :, :9] = 0  # 46 of the 112 border pixels
    assert (dark_on_light(page) or "").startswith("1 of 1 ")
