"""python -m docs.pictures: draw the pictures of docs/images again; `make pictures` calls it.

dag.svg shows the DAG of dvc.yaml, digit.png a drawn 3, page.png the page of the HTTP service, light
and dark, with the same 3 drawn on it. page.png requires Chromium.
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

from pipeline.orchestration.dag import read_dag

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"

Stroke = list[tuple[float, float]]  # points in a square of side 1

MAKES = {  # the output of each stage, in two words
    "backprop": "spreadsheet",
    "fetch": "raw files",
    "prepare": "three sets",
    "collect": "feedback",
    "train": "weights",
    "detect": "detector",
    "calibrate": "thresholds",
    "export": "ONNX file",
    "evaluate": "metrics",
    "gate": "verdict",
    "release": "models/",
}
BOX, GAP, TOP = (96, 52), 32, 92  # pixels
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
font-family="sans-serif" text-anchor="middle">
<title>The DAG of dvc.yaml</title>
<rect x=".5" y=".5" width="{right}" height="{bottom}" rx="10" fill="#fff" stroke="#d0d7de"/>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>
{lines}
</svg>
"""


def draw_dag(root: Path) -> str:
    """The DAG of dvc.yaml in this folder as SVG: the longest chain in a row, other edges above."""
    stages = read_dag(root)
    needed = {name for stage in stages.values() for name in stage.needs}
    row = [name for name, stage in stages.items() if stage.needs or name in needed]
    alone = [name for name in stages if name not in row]
    left = {name: GAP + place * (BOX[0] + GAP) for place, name in enumerate(row)}
    lines = []
    for name in row:
        for source in stages[name].needs:
            steps = row.index(name) - row.index(source)
            lines.append(_edge(left[source], left[name], steps))
    lines += [_box(name, left[name], TOP) for name in row]
    below = TOP + BOX[1] + GAP
    lines += [_box(name, GAP + n * (BOX[0] + GAP), below) for n, name in enumerate(alone)]
    width, height = GAP + len(row) * (BOX[0] + GAP), below + BOX[1] + GAP // 2
    return SVG.format(
        width=width, height=height, right=width - 1, bottom=height - 1, lines="\n".join(lines)
    )


def _edge(start: int, end: int, steps: int) -> str:
    if steps == 1:
        path, width = f"M{start + BOX[0]} {TOP + BOX[1] // 2}H{end - 1}", 1.5
    else:  # an arc; longer ones rise higher
        begin, stop, high = start + BOX[0] * 0.7, end + BOX[0] * 0.3, TOP - 13 * steps
        path, width = f"M{begin:g} {TOP}C{begin:g} {high} {stop:g} {high} {stop:g} {TOP - 1}", 1
    return f'<path d="{path}" fill="none" stroke="#57606a" stroke-width="{width}" ' + (
        'marker-end="url(#tip)"/>'
    )


def _box(name: str, x: int, y: int) -> str:
    middle = x + BOX[0] // 2
    return (
        f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="#ddf4ff" '
        f'stroke="#0969da"/><text x="{middle}" y="{y + 22}" font-size="15" font-weight="bold" '
        f'fill="#1f2328">{name}</text><text x="{middle}" y="{y + 40}" font-size="12" '
        f'fill="#57606a">{MAKES[name]}</text>'
    )


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
    (IMAGES / "dag.svg").write_text(draw_dag(ROOT), encoding="utf-8")
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
