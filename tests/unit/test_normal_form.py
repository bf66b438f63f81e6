"""Digits are found on photographed paper; anything but a single character is refused."""

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pipeline.core.task import ImageForm
from pipeline.inference.session import OnnxModel
from pipeline.mnist import TASK
from pipeline.pictures.marks import NotOneCharacter
from pipeline.pictures.normal_form import bring_into_form
from pipeline.pictures.ruling import without_ruling
from pipeline.pictures.sheets import on_sheet
from tests.checkout import MODEL, needs_model
from tests.digits import Images

MNIST = TASK.form
Page = NDArray[np.float64]
WIDTH = 240
ACROSS = np.linspace(0, 1, WIDTH)


def page(image: Images, paper: float = 235, ink: float = 20) -> Page:
    """A digit of 100 pixels near the middle of a page of 240."""
    strokes = np.asarray(Image.fromarray(image).resize((100, 100), Image.Resampling.BICUBIC))
    result = np.full((WIDTH, WIDTH), float(paper))
    top, left = np.random.default_rng(int(image.sum())).integers(40, 100, 2)
    result[top : top + 100, left : left + 100] -= (paper - ink) * (strokes / 255)
    return result


def grain(sigma: float) -> Page:
    return np.random.default_rng(1).normal(0, sigma, (WIDTH, WIDTH))


def framed(image: Images, inset: int, width: int) -> Page:
    result = page(image)
    near, far = inset, WIDTH - inset - width
    for start in (near, far):
        result[start : start + width, near : far + width] = 30
        result[near : far + width, start : start + width] = 30
    return result


def painted(image: Images, *spots: tuple[slice, slice], grey: float = 20) -> Page:
    result = page(image)
    for spot in spots:
        result[spot] = np.minimum(result[spot], grey)
    return result


def on_desk(image: Images, margin: int) -> Page:
    result = np.full((WIDTH + 2 * margin,) * 2, 40.0)
    result[margin:-margin, margin:-margin] = page(image)
    return result


def cut_out(
    image: Images, scale: int = 8, margin: int = 0, *, sides: bool = True, ends: bool = True
) -> Page:
    """A digit cropped to its ink: at the sides, and at the top and bottom."""
    rows, columns = np.nonzero(image > 32)
    top, bottom = (rows.min(), rows.max() + 1) if ends else (0, 28)
    left, right = (columns.min(), columns.max() + 1) if sides else (0, 28)
    digit = np.pad(image[top:bottom, left:right], margin)
    return 255.0 - np.asarray(Image.fromarray(digit).resize([scale * n for n in digit.shape[::-1]]))


def as_jpeg(page: NDArray[Any]) -> Page:
    file = io.BytesIO()
    Image.fromarray(page.astype(np.uint8)).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file)).astype(float)


def with_corner(image: Images) -> Page:
    result = page(image)
    result[ACROSS + 0.3 * ACROSS[:, None] < 0.17] = 60
    return result


ALL = slice(None)
PAGES: dict[str, tuple[Callable[[Images], Page], float]] = {
    "even": (page, 0.95),
    "shadow of 40": (lambda image: page(image) - 40 * ACROSS, 0.95),
    "shadow of 100": (lambda image: page(image) - 100 * ACROSS[:, None], 0.95),
    "light fades to a quarter": (lambda image: page(image) * (1 - 0.75 * ACROSS), 0.95),
    "dark corners": (
        lambda image: page(image) * (1 - (ACROSS - 0.5) ** 2 - (ACROSS[:, None] - 0.5) ** 2),
        0.95,
    ),
    "grain of 8": (lambda image: page(image) + grain(8), 0.95),
    "grain of 15": (lambda image: page(image) + grain(15), 0.95),
    "edge of the table": (lambda image: painted(image, (ALL, slice(18))), 0.95),
    "grain, shadow and edge": (
        lambda image: painted(image, (slice(-15, None), ALL)) - 60 * ACROSS + grain(6),
        0.95,
    ),
    "sheet on a dark desk": (lambda image: on_desk(image, 30), 0.95),
    "small sheet on a dark desk": (lambda image: on_desk(image, 100), 0.95),
    "underexposed": (lambda image: page(image, paper=90, ink=15), 0.95),
    "pencil": (lambda image: page(image, ink=222), 0.95),
    "chalk": (lambda image: page(image, paper=60, ink=200) - 20 * ACROSS + grain(3), 0.95),
    "two specks": (
        lambda image: painted(image, (slice(2, 5), slice(2, 5)), (slice(-4, -1), slice(-9, -6))),
        0.95,
    ),
    "one pixel": (lambda image: painted(image, (slice(1, 2), slice(-2, -1))), 0.95),
    "cell at the border": (lambda image: framed(image, 0, 4), 0.95),
    "cell": (lambda image: framed(image, 10, 2), 0.95),
    "ruled": (
        lambda image: painted(
            image, *[(slice(y, y + 2), ALL) for y in range(0, WIDTH, 30)], grey=120
        ),
        0.95,
    ),
    "ruled across": (
        lambda image: painted(
            image, *[(ALL, slice(x, x + 1)) for x in range(9, WIDTH, 30)], grey=170
        ),
        0.95,
    ),
    "corner of the table": (with_corner, 0.95),
    "hard shadow": (lambda image: page(image) * (1 - 0.3 * (ACROSS < 0.45)), 0.9),
    "cut out": (cut_out, 1),
    "cut out to a pixel": (lambda image: cut_out(image, margin=1), 1),
    "cut out of a small picture": (lambda image: cut_out(image, scale=1), 1),
    "cut out of a large picture": (lambda image: cut_out(image, scale=20), 1),
    "cut out, light on dark": (lambda image: 255 - cut_out(image), 1),
    "cut out at its sides": (lambda image: cut_out(image, ends=False), 1),
    "cut out at its ends": (lambda image: cut_out(image, sides=False), 1),
    "cut out of a photograph": (
        lambda image: 20 + 0.8 * (cut := cut_out(image)) + grain(8)[: cut.shape[0], : cut.shape[1]],
        0.95,
    ),
    "JPEG": (lambda image: as_jpeg(255.0 - image), 0.95),
}


def share_read(pictures: list[Images], labels: Images) -> float:
    """The share of pictures classified as these digits; a refused picture counts as wrong."""
    forms, wanted = [], []
    for picture, label in zip(pictures, labels, strict=False):
        with suppress(ValueError):
            forms.append(bring_into_form(picture, MNIST))
            wanted.append(label)
    digits = OnnxModel(MODEL).run(np.stack(forms))[1].argmax(1)
    return float((digits == np.array(wanted)).sum() / len(pictures))


@needs_model
@pytest.mark.parametrize("name", PAGES)
def test_digits_on_real_paper_are_recognised(training: tuple[Images, Images], name: str) -> None:
    draw, least = PAGES[name]
    pages = [np.clip(np.rint(draw(image)), 0, 255).astype(np.uint8) for image in training[0][:20]]
    assert share_read(pages, training[1]) >= least


@needs_model
@pytest.mark.parametrize(("side", "pen"), [(560, 2), (1200, 1), (3000, 2)])
def test_thin_strokes_are_recognised(side: int, pen: int) -> None:
    picture = Image.new("L", (side, side), "white")
    corners = [(27, 30), (36, 20), (57, 20), (67, 33), (50, 56), (30, 80), (70, 80)]
    ImageDraw.Draw(picture).line([(x * side / 100, y * side / 100) for x, y in corners], 0, pen)
    form = bring_into_form(np.asarray(picture), MNIST)
    assert form.max() == 255
    assert OnnxModel(MODEL).run(form[None])[1].argmax() == 2


@needs_model
def test_a_small_digit_in_a_large_photograph_is_recognised(training: tuple[Images, Images]) -> None:
    photos = []
    for image in training[0][:20]:
        photo = np.full((1200, 1600), 235.0)
        strokes = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC))
        photo[700:740, 1200:1240] -= 215 * (strokes / 255)
        photos.append((photo * np.linspace(1, 0.65, 1600)).astype(np.uint8))
    assert share_read(photos, training[1]) >= 0.95


def blank() -> Page:
    return np.full((WIDTH, WIDTH), 220.0)


EMPTY: dict[str, Callable[[], Page]] = {
    "black": lambda: 0 * blank(),
    "grey": blank,
    "white": lambda: 35 + blank(),
    "grain": lambda: blank() + grain(8),
    "grain in the shade": lambda: blank() * (1 - 0.4 * ACROSS) + grain(5),
    "a table's edge": lambda: np.where(ACROSS < 0.1, 30, blank()),
    "ruled": lambda: np.where(np.arange(WIDTH) % 30 < 2, 120, blank()),
    "a cell at the border": lambda: framed(np.zeros((28, 28), np.uint8), 0, 4),
    "28 x 28": lambda: np.zeros((28, 28)),
    "8 x 8": lambda: np.full((8, 8), 255.0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_picture_without_ink_is_refused(name: str) -> None:
    """The model returns a digit for any image, even a blank sheet."""
    picture = np.clip(np.rint(EMPTY[name]()), 0, 255).astype(np.uint8)
    with pytest.raises(ValueError, match="no ink found"):
        bring_into_form(picture, MNIST)


def test_two_digits_are_refused(ten: Images) -> None:
    pair = np.concatenate([ten[1], ten[3]], 1)
    with pytest.raises(ValueError, match="no single character found: 2 separate marks"):
        bring_into_form(pair, MNIST)
    with pytest.raises(ValueError, match="no single character found: 2 separate marks"):
        bring_into_form(np.concatenate([page(ten[1]), page(ten[3])], 0).astype(np.uint8), MNIST)


def bars(*boxes: tuple[int, int, int, int]) -> Images:
    """A page with bars: height, width, left and top of each."""
    sheet = np.full((140, 140), 255, np.uint8)
    for height, width, left, top in boxes:
        sheet[top : top + height, left : left + width] = 0
    return sheet


STEM = (60, 8, 40, 20)


@pytest.mark.parametrize(
    ("other", "marks"),
    [
        ((48, 8, 56, 20), 2),  # nearly as tall, side by side: an 11, however close
        ((42, 8, 56, 20), 1),  # a digit of two strokes
        ((8, 30, 52, 20), 1),  # the bar of a 5
        ((60, 8, 40, 84), 1),  # close below: an interrupted stroke
        ((10, 8, 110, 110), 2),  # far away, a sixth of the ink
        ((5, 5, 110, 110), 0),  # a blot, ignored
    ],
)
def test_nearby_strokes_form_one_digit_unless_equally_tall(
    other: tuple[int, int, int, int], marks: int
) -> None:
    if marks == 2:
        with pytest.raises(ValueError, match="no single character found: 2 separate marks"):
            bring_into_form(bars(STEM, other), MNIST)
    else:
        alone = np.array_equal(
            bring_into_form(bars(STEM, other), MNIST), bring_into_form(bars(STEM), MNIST)
        )
        assert alone is (marks == 0)


@needs_model
def test_normalising_does_not_reduce_accuracy_on_mnist(
    training: tuple[Images, Images],
) -> None:
    """Digits can have several strokes."""
    images, labels = (part[:150] for part in training)
    as_they_are = (OnnxModel(MODEL).run(images)[1].argmax(1) == labels).mean()
    assert share_read(list(images), labels) >= as_they_are
    assert share_read(list(255 - images), labels) >= as_they_are


FORMS = {
    "square": ImageForm(height=32, width=32, ink=24),
    "wide": ImageForm(height=20, width=36, ink=16),
    "tall": ImageForm(height=40, width=24, ink=24),
    "small": ImageForm(height=8, width=8, ink=6),
    "large": ImageForm(height=128, width=160, ink=100),
}


@pytest.mark.parametrize("name", FORMS)
def test_ink_is_centred_in_every_form(name: str) -> None:
    form = FORMS[name]
    picture = np.full((600, 1000), 235, np.uint8)
    picture[120:360, 600:640] = picture[320:360, 600:760] = 20  # an L
    found = bring_into_form(picture, form)
    assert found.shape == form.shape
    rows, columns = np.nonzero(found > 127)
    assert np.ptp(rows) + 1 == pytest.approx(form.ink, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(form.ink * 80 / 120, abs=1)
    weights = found / found.sum()
    centre = (weights.sum(1) @ np.arange(form.height), weights.sum(0) @ np.arange(form.width))
    assert centre == pytest.approx((form.height / 2, form.width / 2), abs=0.6)


@pytest.mark.parametrize("letter", "ABDOPR")
@pytest.mark.parametrize("size", [60, 150, 400])
def test_a_letter_with_counters_is_not_mistaken_for_paper(letter: str, size: int) -> None:
    """A sheet with a digit also has an outline and holes."""
    page = Image.new("L", (2 * size, 2 * size), 240)
    drawn = (size, size), letter, 20, ImageFont.load_default(size), "mm"
    ImageDraw.Draw(page).text(*drawn)
    found = bring_into_form(np.asarray(page), FORMS["square"])
    ink = Image.new("L", page.size)
    ImageDraw.Draw(ink).text((size, size), letter, 255, ImageFont.load_default(size), "mm")
    rows, columns = np.nonzero(found > 40)
    cut = Image.fromarray(found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    expected = np.asarray(ink.crop(ink.getbbox()).resize(cut.size), float)
    assert np.corrcoef(expected.ravel(), np.asarray(cut).ravel())[0, 1] > 0.9


@needs_model
def test_broken_strokes_are_recognised(training: tuple[Images, Images]) -> None:
    """By a horizontal or vertical gap, as from a nearly dry pen."""
    images, labels = training
    pages = [page(image).astype(np.uint8) for image in images[:40]]
    for picture in pages:
        rows, columns = (np.flatnonzero((picture < 128).any(axis)) for axis in (1, 0))
        upper, middle = rows[len(rows) // 4], columns[len(columns) // 2]
        picture[upper : upper + 3] = picture[:, middle : middle + 3] = 235
    assert share_read(pages, labels) >= 0.95


def test_contrast_beyond_8_bits_is_preserved(ten: Images) -> None:
    faint = (200 + page(ten[5]) / 12).astype(np.float32)
    np.testing.assert_allclose(
        bring_into_form(faint, MNIST).astype(int),
        bring_into_form(page(ten[5]).astype(np.float32), MNIST),
        atol=12,
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1)])
def test_a_picture_one_pixel_wide_or_high_has_no_ink(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no ink found"):
        bring_into_form(np.zeros(shape, np.uint8), MNIST)


@pytest.mark.parametrize("slope", [-2.5, 0, 1])
@pytest.mark.parametrize("grid", [False, True])
def test_ruling_is_removed_but_not_a_stroke_across_it(slope: float, grid: bool) -> None:
    y, x = np.mgrid[:200, :300]
    tilt = np.tan(np.radians(slope))
    lines = np.abs((y - tilt * x) % 50 - 25) < 2
    if grid:
        lines |= np.abs((x + tilt * y) % 50 - 25) < 2
    stroke = (np.abs(x - 142) < 8) & (y > 30) & (y < 170)
    left = without_ruling(lines | stroke)
    assert left[stroke].mean() > 0.95
    assert (left & ~ndimage.binary_dilation(stroke, iterations=3)).sum() < 0.02 * lines.sum()


def test_a_stroke_that_ends_within_the_picture_is_no_ruling() -> None:
    mask = np.zeros((200, 300), bool)
    mask[100:104, 20:280] = True
    np.testing.assert_array_equal(without_ruling(mask), mask)


@pytest.mark.parametrize("angle", [-8, 0, 5])
@pytest.mark.parametrize("desk", [30, 130])
def test_a_sheet_on_a_desk_is_cut_out_upright(ten: Images, angle: int, desk: int) -> None:
    sheet = Image.fromarray(page(ten[4]).astype(np.uint8))
    picture = Image.new("L", (360, 360), desk)
    picture.paste(sheet, (60, 60))
    picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=desk)
    found = on_sheet(np.asarray(picture, np.float32))
    assert found.shape == pytest.approx((WIDTH, WIDTH), abs=24)
    border = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    assert border.min() > 200
    digit = found < 100
    assert digit.sum() == pytest.approx((np.asarray(sheet) < 100).sum(), rel=0.1)


def test_a_digit_is_no_sheet(ten: Images) -> None:
    """Light on dark, bold or with a counter."""
    for image in ten:
        bold = ndimage.grey_dilation(image, (3, 3)).astype(np.float32)
        for picture in (bold, 255 - bold, np.kron(bold, np.ones((6, 6), np.float32))):
            assert on_sheet(picture) is picture


def test_a_dot_is_no_character() -> None:
    y, x = np.mgrid[:100, :100]
    dot = np.where(np.hypot(y - 40, x - 60) < 8, 30, 230).astype(np.uint8)
    with pytest.raises(NotOneCharacter, match="blot"):
        bring_into_form(dot, MNIST)
