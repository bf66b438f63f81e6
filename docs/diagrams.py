"""The diagrams of docs/images as SVG: the DAG, the life of a release, and the loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.orchestration.dag import read_dag

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
STAGE, GAP, TOP = (96, 52), 32, 92  # pixels, of the DAG: its boxes, between them, above them
INK, PALE = "#1f2328", "#57606a"
MONOSPACE = ' font-family="monospace"'
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" text-anchor="middle">
<title>{title}</title>
<rect x=".5" y=".5" width="{right}" height="{bottom}" rx="10" fill="#fff" stroke="#d0d7de"/>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>
{lines}
</svg>
"""


class Colour(NamedTuple):
    """Of a box."""

    fill: str
    stroke: str


BLUE, GREEN = Colour("#ddf4ff", "#0969da"), Colour("#dafbe1", "#1a7f37")
RED, GREY = Colour("#ffebe9", "#cf222e"), Colour("#f6f8fa", "#57606a")
YELLOW = Colour("#fff8c5", "#9a6700")


def svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """A picture of this size in pixels, from what `box`, `arrow` and `label` return."""
    return SVG.format(
        title=title,
        width=width,
        height=height,
        right=width - 1,
        bottom=height - 1,
        lines="\n".join(parts),
    )


def box(
    place: tuple[int, int],
    size: tuple[int, int],
    name: str,
    text: str,
    colour: Colour = BLUE,
) -> str:
    """A box with a name and, below it, a text. `place`: of its upper left corner."""
    (x, y), (width, height) = place, size
    middle, large = x + width // 2, height > STAGE[1]
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour.fill}" '
        f'stroke="{colour.stroke}"/><text x="{middle}" y="{y + (26 if large else 22)}" '
        f'font-size="{16 if large else 15}" font-weight="bold" fill="{INK}">{name}</text>'
        f'<text x="{middle}" y="{y + (46 if large else 40)}" '
        f'font-size="{12.5 if large else 12}" fill="{PALE}">{text}</text>'
    )


def arrow(path: str, width: float = 1.5) -> str:
    """An arrow along a path."""
    return (
        f'<path d="{path}" fill="none" stroke="{PALE}" stroke-width="{width}" '
        'marker-end="url(#tip)"/>'
    )


def label(x: int, y: int, *lines: str, anchor: str = "middle") -> str:
    """Lines of text; those that begin with `$` are commands."""
    return "\n".join(
        f'<text x="{x}" y="{y + 16 * number}" font-size="12.5" text-anchor="{anchor}" '
        f'fill="{INK}"{MONOSPACE if line.startswith("$") else ""}>{line.removeprefix("$")}</text>'
        for number, line in enumerate(lines)
    )


def draw_dag(root: Path) -> str:
    """The DAG of dvc.yaml in this folder: the longest chain in a row, other edges above."""
    stages = read_dag(root)
    needed = {name for stage in stages.values() for name in stage.needs}
    row = [name for name, stage in stages.items() if stage.needs or name in needed]
    alone = [name for name in stages if name not in row]
    left = {name: GAP + place * (STAGE[0] + GAP) for place, name in enumerate(row)}
    parts = []
    for name in row:
        for source in stages[name].needs:
            steps = row.index(name) - row.index(source)
            parts.append(_edge(left[source], left[name], steps))
    below = TOP + STAGE[1] + GAP
    places = {name: (left[name], TOP) for name in row}
    places |= {name: (GAP + n * (STAGE[0] + GAP), below) for n, name in enumerate(alone)}
    parts += [box(place, STAGE, name, MAKES[name]) for name, place in places.items()]
    width, height = GAP + len(row) * (STAGE[0] + GAP), below + STAGE[1] + GAP // 2
    return svg("The DAG of dvc.yaml", width, height, parts)


def _edge(start: int, end: int, steps: int) -> str:
    if steps == 1:
        return arrow(f"M{start + STAGE[0]} {TOP + STAGE[1] // 2}H{end - 1}")
    # an arc; longer ones rise higher
    begin, stop, high = start + STAGE[0] * 0.7, end + STAGE[0] * 0.3, TOP - 13 * steps
    return arrow(f"M{begin:g} {TOP}C{begin:g} {high} {stop:g} {high} {stop:g} {TOP - 1}", 1)


def draw_life() -> str:
    """The states of a release, and what moves it between them."""
    size = (170, 60)
    return svg(
        "The life of a release",
        850,
        470,
        [
            arrow("M190 90H299"),
            label(244, 80, "gate passed"),
            arrow("M470 90H609"),
            label(540, 64, "not inferior, or", "$promote N"),
            arrow("M105 120V249"),
            label(115, 178, "gate not passed,", "or inferior", anchor="start"),
            arrow("M360 120V249"),
            label(350, 178, "$serve", "$--challenger N", anchor="end"),
            arrow("M410 249V121"),
            label(420, 178, "ends by itself", anchor="start"),
            arrow("M470 265C550 260 590 190 622 121"),
            label(478, 290, "$promote N", anchor="start"),
            arrow("M722 120V249"),
            label(714, 178, "another one", "is promoted", anchor="end"),
            arrow("M762 249V121"),
            label(771, 178, "$rollback", anchor="start"),
            arrow("M695 310V389"),
            label(705, 345, "5 newer ones,", "unless in use", anchor="start"),
            box((20, 60), size, "candidate", "artifacts/model.onnx"),
            box((300, 60), size, "registered", "models/releases/N"),
            box((610, 60), size, "champion", "answers requests", GREEN),
            box((20, 250), size, "refused", "a line in the ledger", RED),
            box((300, 250), size, "challenger", "shadow, then canary"),
            box((610, 250), size, "previous", "one step back"),
            box((610, 390), size, "removed", "the number stays used", GREY),
        ],
    )


def draw_loop() -> str:
    """How what a model sees in use becomes the next release."""
    size = (170, 60)
    left, right = 20, 290
    return svg(
        "The loop",
        480,
        560,
        [
            arrow("M341 50C365 50 375 60 375 119"),
            label(385, 92, "copies", anchor="start"),
            arrow("M375 180V229"),
            label(385, 209, "windows", anchor="start"),
            arrow("M375 290V339"),
            label(385, 319, "drift", anchor="start"),
            arrow("M375 400C375 460 365 480 341 480"),
            label(385, 440, "labels", anchor="start"),
            arrow("M289 270C250 280 240 330 240 449"),
            label(262, 318, "accuracy fell", anchor="start"),
            arrow("M140 480C115 480 105 460 105 401"),
            label(95, 440, "begins", anchor="end"),
            arrow("M289 160C235 190 220 320 191 362"),
            label(238, 204, "images", anchor="end"),
            arrow("M105 340V291"),
            label(95, 319, "feedback", anchor="end"),
            arrow("M105 230V181"),
            label(95, 209, "a release", anchor="end"),
            arrow("M105 120C105 60 115 50 139 50"),
            label(95, 92, "promotion", anchor="end"),
            arrow("M205 80C205 120 205 140 191 145"),
            label(213, 112, "copies", anchor="start"),
            box((140, 20), (200, 60), "service", "the champion answers", GREEN),
            box((right, 120), size, "journal", "images and answers"),
            box((right, 230), size, "monitor", "tests and accuracy"),
            box((right, 340), size, "review", "people say what it is", YELLOW),
            box((140, 450), (200, 60), "retrain", "a fall, and enough labels"),
            box((left, 340), size, "collect", "refuses test images"),
            box((left, 230), size, "train … release", "the DAG, gate and rule"),
            box((left, 120), size, "trial", "the new release"),
            label(240, 540, "Each step from review to promotion is a line in the ledger."),
        ],
    )
