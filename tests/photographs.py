"""Draws photographs of single digits: paper, ink, light, desk, ruling and camera vary.

A digit comes from a data set or from strokes. All amounts are drawn from a seeded generator, so the
same seed gives the same file. Lengths are shares of the digit's height or of the picture's shorter
side; reflectance ranges from 0 to 1.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw
from scipy import interpolate, ndimage

from pipeline.pictures.grey import ORIENTATIONS
from tests.digits import Images

Random = np.random.Generator
Layer = NDArray[np.float32]  # [H, W], from 0 to 1
Colour = tuple[float, float, float]

WHITE, GREY = (0.9, 0.89, 0.86), (0.42, 0.42, 0.4)
COLOURED = [(0.95, 0.9, 0.55), (0.65, 0.8, 0.92), (0.93, 0.68, 0.7), (0.62, 0.85, 0.62)]
BLACK, BLUE, PENCIL = (0.07, 0.07, 0.08), (0.12, 0.2, 0.55), (0.45, 0.45, 0.46)
CHALK, BOARD = (0.88, 0.88, 0.85), (0.14, 0.22, 0.18)

# Strokes of each digit: points in a square of 100 x 100, to the right and down; each is smooth.
STROKES = [
    ["60,5 25,20 15,55 35,93 70,88 85,50 60,5"],
    ["55,4 50,50 46,96"],
    ["15,25 35,6 70,10 75,38 45,70 12,95", "12,95 88,92"],
    ["18,12 50,4 78,20 65,40 40,47", "40,47 75,55 82,75 55,95 15,88"],
    ["25,8 15,55", "15,55 88,52", "72,10 65,96"],
    ["80,6 28,7", "28,7 22,42", "22,42 50,38 80,58 70,85 40,95 12,87"],
    ["70,5 40,25 20,60 30,90 60,93 75,70 55,53 25,68"],
    ["12,10 85,8", "85,8 60,45 42,95"],
    ["72,15 45,5 25,20 45,42 72,62 70,88 45,96 22,82 30,60 55,42 75,25 72,15"],
    ["75,20 50,6 25,20 30,42 55,45 75,20", "75,20 73,55 62,95"],
]


@dataclass(frozen=True)
class Scene:
    """A digit on paper under a camera. The defaults: black ink on white paper in even light."""

    shape: tuple[int, int] = (300, 300)  # pixels
    height: float = 0.5  # of the digit, of the shorter side
    place: tuple[float, float] = (0.5, 0.5)  # of the digit's centre, down and right
    digits: int = 1
    pen: float | None = None  # width in digit heights, drawn in strokes; None: MNIST's own
    paper: Colour = WHITE
    ink: Colour = BLACK
    texture: float = 0.01  # of the paper
    falloff: float = 0  # loss of light from one side to the other
    shadow: float = 0  # loss of light behind an edge
    softness: float = 0.02  # of the edge of the shadow
    direction: float = 0  # of falloff, shadow and desk, in radians
    ruling: tuple[float, ...] = ()  # distances of lines down, and right if there are two
    frame: float | None = None  # distance of a frame from the digit, in digit heights
    desk: Colour | None = None
    margins: tuple[float, ...] = ()  # of the desk: on one side, or on all four
    tilt: float = 0  # of ruling, frame and sheet, in degrees
    specks: int = 0
    far_pixel: bool = False
    blur: float = 0  # in digit heights
    noise: float = 1  # of the sensor, of 255
    quality: int | None = 92  # of the JPEG; None: a PNG
    orientation: int = 1  # EXIF
    details: dict[str, float] = field(default_factory=dict)


def light_paper(random: Random) -> Scene:
    """A digit of any size at any place, in black or blue ink on light paper, in even light."""
    side = int(np.exp(random.uniform(np.log(120), np.log(900))))
    height = random.uniform(0.3, 0.7)
    room = 0.5 - 0.6 * height
    other = int(side * random.uniform(1, 1.4))
    return Scene(
        shape=(side, other) if random.choice([1, -1]) == 1 else (other, side),
        height=height,
        place=tuple(0.5 + random.uniform(-room, room, 2)),
        paper=tuple(np.array(WHITE) * random.uniform(0.8, 1.05)),
        ink=BLACK if random.random() < 0.5 else BLUE,
        pen=random.uniform(0.07, 0.14) if random.random() < 0.25 else None,
        noise=random.uniform(0, 2),
        quality=int(random.integers(85, 96)) if random.random() < 0.8 else None,
        direction=random.uniform(0, 2 * np.pi),
        tilt=random.uniform(-2, 2),
    )


def falling_light(scene: Scene, random: Random) -> Scene:
    return replace(scene, falloff=random.uniform(0.15, 0.4))


def shadow(scene: Scene, random: Random) -> Scene:
    return replace(
        scene, shadow=random.uniform(0.2, 0.45), softness=np.exp(random.uniform(-4.5, -2.3))
    )


def sensor_noise(scene: Scene, random: Random) -> Scene:
    return replace(scene, noise=random.uniform(4, 12))


def blur(scene: Scene, random: Random) -> Scene:
    return replace(scene, blur=random.uniform(0.01, 0.05))


def desk_colour(random: Random) -> Colour:
    wood = np.array([(0.1, 0.1, 0.11), (0.35, 0.22, 0.13), (0.25, 0.25, 0.27), (0.5, 0.36, 0.24)])
    red, green, blue = wood[random.integers(len(wood))] * random.uniform(0.7, 1.2)
    return red, green, blue


def desk_edge(scene: Scene, random: Random) -> Scene:
    return replace(
        scene,
        desk=desk_colour(random),
        margins=(random.uniform(0.02, 0.14),),
        height=0.75 * scene.height,
    )


def sheet_on_desk(scene: Scene, random: Random) -> Scene:
    return replace(
        scene,
        desk=desk_colour(random),
        margins=tuple(random.uniform(0.05, 0.2, 4)),
        height=0.6 * scene.height,
        place=(0.5, 0.5),
        tilt=random.uniform(-7, 7),
    )


def dark_paper(scene: Scene, random: Random) -> Scene:
    return replace(scene, paper=tuple(np.array(GREY) * random.uniform(0.6, 1.1)), ink=BLACK)


def coloured_paper(scene: Scene, random: Random) -> Scene:
    return replace(scene, paper=COLOURED[random.integers(len(COLOURED))])


def pencil(scene: Scene, random: Random) -> Scene:
    return replace(scene, ink=tuple(np.array(PENCIL) * random.uniform(0.8, 1.3)))


def chalk(scene: Scene, random: Random) -> Scene:
    return replace(scene, ink=CHALK, paper=tuple(np.array(BOARD) * random.uniform(0.7, 2)))


def ruled(scene: Scene, random: Random) -> Scene:
    lines = tuple(scene.height * random.uniform(0.25, 1.1, 1))
    return replace(scene, ruling=lines * (1 if random.random() < 0.5 else 2))


def framed(scene: Scene, random: Random) -> Scene:
    return replace(scene, frame=random.uniform(0.15, 0.4), height=0.8 * scene.height)


def specks(scene: Scene, random: Random) -> Scene:
    return replace(scene, specks=int(random.integers(1, 6)), far_pixel=random.random() < 0.7)


def thin_pen(scene: Scene, random: Random) -> Scene:
    side = int(random.integers(600, 1600))
    return replace(scene, shape=(side, side), pen=random.uniform(0.008, 0.03), noise=1)


def camera(scene: Scene, random: Random) -> Scene:
    return replace(
        scene, orientation=int(random.integers(2, 9)), quality=int(random.integers(25, 60))
    )


def mixed(scene: Scene, random: Random) -> Scene:
    """Every condition with some probability; those that exclude each other, at most one of."""
    choices: list[tuple[float, list[Change]]] = [
        (0.2, [dark_paper, coloured_paper, chalk]),
        (0.2, [pencil]),
        (0.6, [falling_light, shadow]),
        (0.5, [sensor_noise]),
        (0.3, [blur]),
        (0.3, [desk_edge, sheet_on_desk]),
        (0.3, [ruled, framed]),
        (0.3, [specks]),
        (0.1, [thin_pen]),
        (0.5, [camera]),
    ]
    for probability, changes in choices:
        change = changes[random.integers(len(changes))]
        if random.random() < probability and not (change is pencil and scene.paper[0] < 0.6):
            scene = change(scene, random)
    return scene


def blank(scene: Scene, random: Random) -> Scene:
    return replace(mixed(scene, random), digits=0)


def pair(scene: Scene, random: Random) -> Scene:
    scene = mixed(scene, random)
    return replace(scene, digits=2, height=0.6 * scene.height, place=(0.5, 0.5))


Change = Callable[[Scene, Random], Scene]
CONDITIONS: dict[str, Change] = {
    "even light": lambda scene, random: scene,
    "light falls off by 15 to 40 %": falling_light,
    "edge of a shadow": shadow,
    "sensor noise": sensor_noise,
    "edge of a desk": desk_edge,
    "sheet on a desk": sheet_on_desk,
    "dark paper": dark_paper,
    "coloured paper": coloured_paper,
    "pencil": pencil,
    "chalk on a board": chalk,
    "ruled paper": ruled,
    "cell or frame": framed,
    "specks": specks,
    "thin pen": thin_pen,
    "blur": blur,
    "EXIF rotation, strong JPEG": camera,
    "all mixed": mixed,
}
REFUSED: dict[str, Change] = {"no digit, mixed": blank, "two digits, mixed": pair}


@dataclass(frozen=True)
class Photograph:
    """A picture file and the digit on it; None if there is not exactly one."""

    content: bytes
    label: int | None


def photograph(
    condition: str,
    images: Images,
    labels: Images,
    random: Random,
    change: Callable[[Scene], Scene] = lambda scene: scene,
) -> Photograph:
    """A photograph of a digit under a condition; images [N, 28, 28] are light ink on black.

    `change` is applied to the scene before it is drawn.
    """
    scene = change((CONDITIONS | REFUSED)[condition](light_paper(random), random))
    drawn = [int(n) for n in random.integers(len(images), size=scene.digits)]
    found = int(labels[drawn[0]]) if len(drawn) == 1 else None
    pixels = render(scene, [(images[n], int(labels[n])) for n in drawn], random)
    return Photograph(encoded(pixels, scene), found)


def render(scene: Scene, digits: list[tuple[NDArray[np.uint8], int]], random: Random) -> Images:
    """The pixels of a scene, uint8 [H, W, 3]."""
    height, width = scene.shape
    short = min(scene.shape)
    size = max(8, round(scene.height * short))
    down, right = scene.place[0] * height, scene.place[1] * width
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = np.radians(scene.tilt)
    across = np.cos(angle) * (x - right) + np.sin(angle) * (y - down)  # from the digit, tilted
    along = np.cos(angle) * (y - down) - np.sin(angle) * (x - right)

    grain = ndimage.gaussian_filter(random.normal(0, 1, scene.shape), 1) * 3
    surface = np.array(scene.paper, np.float32) * (1 + scene.texture * grain)[..., None]
    line = max(1.0, short / 200)
    printed = np.zeros(scene.shape, np.float32)
    for distance, position in zip(scene.ruling, (along, across), strict=False):
        offset = np.abs((position / short + distance / 2) % distance - distance / 2) * short
        printed = np.maximum(printed, 0.5 * _line(offset, line))
    if scene.frame is not None:
        reach = size * (0.5 + scene.frame)
        wide = np.abs(across) - 0.575 * size * (scene.digits == 2)  # around both digits
        inset = np.abs(np.maximum(wide, np.abs(along)) - reach)
        printed = np.maximum(printed, 0.85 * _line(inset, 1.5 * line))
    surface = _over(surface, printed, BLUE if scene.ruling else BLACK)
    surface = _over(surface, _strokes(scene, digits, size, (down, right), random), scene.ink)
    surface = _over(surface, _specks(scene, random), scene.ink)
    if scene.desk is not None:
        surface = _over(surface, _desk(scene, x, y, along, across), scene.desk)
    surface *= _light(scene, x, y)[..., None]
    if scene.blur:
        surface = ndimage.gaussian_filter(surface, (scene.blur * size, scene.blur * size, 0))
    noisy = 255 * surface + random.normal(0, scene.noise, surface.shape)
    pixels: Images = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


def encoded(pixels: Images, scene: Scene) -> bytes:
    """A JPEG or PNG file, rotated with the EXIF orientation that undoes it."""
    picture = Image.fromarray(pixels)
    if scene.orientation in ORIENTATIONS:
        undo = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
        undo |= {there: back for back, there in undo.items()}
        rotation = ORIENTATIONS[scene.orientation]
        picture = picture.transpose(undo.get(rotation, rotation))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = scene.orientation
    file = io.BytesIO()
    if scene.quality is None:
        picture.save(file, "PNG", exif=exif)
    else:
        picture.save(file, "JPEG", quality=scene.quality, exif=exif)
    return file.getvalue()


def _over(surface: NDArray[np.float32], cover: Layer, colour: Colour) -> NDArray[np.float32]:
    share = cover[..., None]
    covered: NDArray[np.float32] = surface * (1 - share) + share * np.array(colour, np.float32)
    return covered


def _line(distance: Layer, width: float) -> Layer:
    return np.clip((width - distance + 0.5) / 1, 0, 1).astype(np.float32) * (distance < width)


def _strokes(
    scene: Scene,
    digits: list[tuple[NDArray[np.uint8], int]],
    size: int,
    place: tuple[float, float],
    random: Random,
) -> Layer:
    """The ink of the digits, side by side around their place."""
    cover = np.zeros(scene.shape, np.float32)
    for n, (image, label) in enumerate(digits):
        if scene.pen is None:
            shape = _copied(image, size, random)
        else:
            shape = _drawn(label, size, scene.pen, random)
        top = round(place[0] - shape.shape[0] / 2)
        left = round(place[1] - shape.shape[1] / 2 + (n - (len(digits) - 1) / 2) * 1.15 * size)
        rows, columns = (
            slice(max(0, start), max(0, min(side, start + length)))
            for start, length, side in zip((top, left), shape.shape, scene.shape, strict=True)
        )
        cover[rows, columns] = np.maximum(
            cover[rows, columns],
            shape[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left],
        )
    return cover


def _copied(image: NDArray[np.uint8], size: int, random: Random) -> Layer:
    """An image of the data set, 20 of whose 28 pixels become `size`, with sharper edges."""
    side = round(size * 28 / 20)
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    sharpness = random.uniform(1, 3)
    grey = np.asarray(large, np.float32) / 255
    return np.clip((grey - 0.4) * sharpness + 0.4, 0, 1)


def _drawn(label: int, size: int, pen: float, random: Random) -> Layer:
    """A digit drawn in strokes of a round pen, slightly deformed."""
    side, scale = round(size * 1.4), 3
    page = Image.new("L", (side * scale, side * scale))
    draw = ImageDraw.Draw(page)
    width = max(1.0, pen * size) * scale
    slant, turn = random.uniform(-0.25, 0.15), np.radians(random.uniform(-6, 6))
    breadth = random.uniform(0.6, 0.85)
    waves, phases = random.uniform(-0.03, 0.03, (2, 2)), random.uniform(0, 2 * np.pi, 2)
    for stroke in STROKES[label]:
        points = np.array([point.split(",") for point in stroke.split()], float) / 100
        if len(points) > 2:
            curve, _ = interpolate.splprep(points.T, s=0, k=min(3, len(points) - 1))
            points = np.stack(interpolate.splev(np.linspace(0, 1, 60), curve), 1)
        else:
            points = np.linspace(points[0], points[1], 20)
        points = points + np.sin(4 * points[:, ::-1] + phases) @ waves - 0.5
        u, v = breadth * (points[:, 0] - slant * points[:, 1]), points[:, 1]
        u, v = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
        path = [tuple(scale * (side / 2 + size * part)) for part in np.stack([u, v], 1)]
        draw.line(path, 255, round(width))
        for a, b in path:
            draw.ellipse((a - width / 2, b - width / 2, a + width / 2, b + width / 2), 255)
    return np.asarray(page.reduce(scale), np.float32) / np.float32(255)


def _specks(scene: Scene, random: Random) -> Layer:
    """Dust: small dots, and one pixel in a corner."""
    cover = np.zeros(scene.shape, np.float32)
    radius = max(1, round(0.006 * min(scene.shape)))
    for _ in range(scene.specks):
        top, left = (int(random.integers(0, side - 2 * radius)) for side in scene.shape)
        cover[top : top + 2 * radius, left : left + 2 * radius] = random.uniform(0.5, 1)
    if scene.far_pixel:
        cover[1, -2] = 1
    return cover


def _desk(scene: Scene, x: Layer, y: Layer, along: Layer, across: Layer) -> Layer:
    """Where the desk is: beyond one edge of the sheet, or beyond all four."""
    height, width = scene.shape
    if len(scene.margins) == 1:
        distance = _towards(scene, x, y) - scene.margins[0]
    else:
        top, bottom, left, right = scene.margins
        sides = (
            (along + height / 2) / height - top,
            (height / 2 - along) / height - bottom,
            (across + width / 2) / width - left,
            (width / 2 - across) / width - right,
        )
        distance = np.minimum.reduce(sides)
    desk: Layer = np.clip(0.5 - distance * min(scene.shape) / 1.5, 0, 1).astype(np.float32)
    return desk


def _light(scene: Scene, x: Layer, y: Layer) -> Layer:
    """The light on each pixel: it falls off to one side, and has the edge of a shadow."""
    position = _towards(scene, x, y)
    edge = 1 / (1 + np.exp(-np.clip((position - 0.5) / scene.softness * 4, -50, 50)))
    light: Layer = (1 - scene.falloff * position) * (1 - scene.shadow * edge)
    return light


def _towards(scene: Scene, x: Layer, y: Layer) -> Layer:
    """How far a pixel is from one side to the other in the scene's direction, from 0 to 1."""
    height, width = scene.shape
    down, right = np.sin(scene.direction), np.cos(scene.direction)
    reach = (abs(down) + abs(right)) / 2
    position: Layer = (down * (y / height - 0.5) + right * (x / width - 0.5)) / (2 * reach) + 0.5
    return position
