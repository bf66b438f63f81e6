"""python -m docs.pictures: draw the pictures of docs/images again; `make pictures` calls it.

The diagrams are those of docs/diagrams.py, and digit.png is a drawn 3.
page.png is the page of the HTTP service, light and dark, with the same 3 drawn on it; it requires
Chromium.
"""

import io
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, expect, sync_playwright

from docs.diagrams import draw_all

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"

Stroke = list[tuple[float, float]]  # points in a square of side 1


def three() -> Stroke:
    """A 3, in one stroke."""

    def arc(y: float, wide: float, high: float, start: int, end: int) -> Stroke:
        angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
        return [(0.46 + wide * math.cos(a), y + high * math.sin(a)) for a in angles]

    return arc(0.33, 0.19, 0.17, -150, 90) + arc(0.67, 0.22, 0.18, -90, 150)


def draw_digit(side: int = 224) -> Image.Image:
    """The 3, dark on light, as a grayscale image."""
    image = Image.new("L", (4 * side, 4 * side), 245)
    draw = ImageDraw.Draw(image)
    points = [(4 * side * x, 4 * side * y) for x, y in three()]
    width = 4 * side // 12
    draw.line(points, fill=25, width=width, joint="curve")
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=25)
    return image.resize((side, side), Image.Resampling.LANCZOS)


@contextmanager
def served() -> Iterator[str]:
    """Serve the released model and the reports of this checkout; yields the URL."""
    command = [sys.executable, "-m", "pipeline", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = (re.search(r"http://[\d.:]+", line) for line in process.stderr)
            yield next(found[0] for found in lines if found)
        finally:
            process.terminate()


def photograph(browser: Browser, address: str, scheme: str) -> Image.Image:
    """A screenshot of the page in this colour scheme, after it has classified the drawn 3."""
    page = browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 700, "height": 712},
    )
    page.goto(address)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in three()]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    expect.set_options(timeout=60_000)  # on a busy machine
    expect(page.locator("#verdict strong")).to_have_text("3")
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    page.close()
    return shot


def main() -> None:
    """Draw all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, text in draw_all(ROOT).items():
        (IMAGES / f"{name}.svg").write_text(text, encoding="utf-8")
    draw_digit().save(IMAGES / "digit.png", optimize=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        both = [photograph(browser, address, scheme) for scheme in ("light", "dark")]
        browser.close()
    page = Image.new("RGB", (sum(image.width for image in both), both[0].height))
    page.paste(both[0], (0, 0))
    page.paste(both[1], (both[0].width, 0))
    page.quantize(128).save(IMAGES / "page.png", optimize=True)


if __name__ == "__main__":
    main()
