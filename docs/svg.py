"""Parts of a diagram as SVG: boxes, arrows and labels."""

from collections.abc import Sequence
from typing import NamedTuple

LARGE = 60  # height in pixels from which the text of a box is larger
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
    """A box with a name and, below it, a text. `place`: of its upper left corner, in pixels."""
    (x, y), (width, height) = place, size
    middle, large = x + width // 2, height >= LARGE
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
