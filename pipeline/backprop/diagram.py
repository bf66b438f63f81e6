"""Draws the network, and one pass through it step by step."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from pipeline.backprop import equations
from pipeline.backprop.equations import as_text, substitute
from pipeline.backprop.network import Training
from pipeline.core.figures import Figure

COLUMNS = {"i": 0, "h": 3.6, "a_h": 5.1, "o": 8.7, "a_o": 10.2, "E": 12.9}  # from left to right
ROWS = {"1": 2.2, "2": 0}
NODES = {f"{name}{row}": (x, y) for name, x in COLUMNS.items() for row, y in ROWS.items()}
NODES["E_total"] = (14.5, 1.1)
EDGES = {  # from, to, and the label
    ("i1", "h1"): "w1",
    ("i2", "h1"): "w2",
    ("i1", "h2"): "w3",
    ("i2", "h2"): "w4",
    ("a_h1", "o1"): "w5",
    ("a_h2", "o1"): "w6",
    ("a_h1", "o2"): "w7",
    ("a_h2", "o2"): "w8",
    ("h1", "a_h1"): "σ",
    ("h2", "a_h2"): "σ",
    ("o1", "a_o1"): "σ",
    ("o2", "a_o2"): "σ",
    ("a_o1", "E1"): "t1",
    ("a_o2", "E2"): "t2",
    ("E1", "E_total"): "",
    ("E2", "E_total"): "",
}
ALL = (*NODES, *EDGES.values())
RADIUS = 0.46
FILL = {"i": "#E2EFDA", "h": "#DDEBF7", "a": "#9DC3E6", "o": "#DDEBF7", "E": "#F8CBAD"}
IDLE, ONWARD, BACK = "#C4C4C4", "tab:blue", "tab:red"


class Step(NamedTuple):
    """One panel: a step, its explanation, the part of the network and the equations."""

    title: str
    explanation: str
    where: str  # names of neurons and weights, separated by spaces
    equations: Mapping[str, str]
    colour: str = ONWARD


def _forward(*names: str) -> dict[str, str]:
    return {name: equations.FORWARD[name] for name in names}


STEPS = (
    Step(
        "Forward: the hidden layer",
        "Each neuron sums its weighted inputs; σ maps the sum to the range 0 to 1.",
        "i1 i2 w1 w2 w3 w4 h1 h2 a_h1 a_h2",
        _forward("h1", "a_h1", "h2", "a_h2"),
    ),
    Step(
        "Forward: the output layer",
        "The same computation with the activations of the hidden layer.",
        "a_h1 a_h2 w5 w6 w7 w8 o1 o2 a_o1 a_o2",
        _forward("o1", "a_o1", "o2", "a_o2"),
    ),
    Step(
        "Forward: the errors",
        "Each error is half the squared distance to its target; their sum is the loss.",
        "a_o1 a_o2 t1 t2 E1 E2 E_total",
        _forward("E1", "E2", "E_total"),
    ),
    Step(
        "Backward: the weights of the output layer",
        "Chain rule: ∂E/∂a_o = a_o − t, times ∂a_o/∂o = a_o·(1 − a_o), times ∂o/∂w = a_h.",
        "E_total E1 E2 t1 t2 a_o1 a_o2 o1 o2 w5 w6 w7 w8",
        equations.OUTPUT_LAYER,
        BACK,
    ),
    Step(
        "Backward: the hidden activations",
        "A hidden neuron contributes to both errors, so their derivatives add up.",
        "E_total E1 E2 t1 t2 a_o1 a_o2 o1 o2 w5 w6 w7 w8 a_h1 a_h2",
        equations.HIDDEN_ACTIVATIONS,
        BACK,
    ),
    Step(
        "Backward: the weights of the hidden layer",
        "That sum is multiplied by ∂a_h/∂h = a_h·(1 − a_h) and ∂h/∂w = i.",
        "a_h1 a_h2 h1 h2 w1 w2 w3 w4",
        equations.HIDDEN_LAYER,
        BACK,
    ),
    Step(
        "Update: all weights at once",
        "Each weight moves against its derivative; the learning rate η sets how far.",
        "w1 w2 w3 w4 w5 w6 w7 w8",
        equations.UPDATE,
        "tab:green",
    ),
)


def network_diagram(values: Mapping[str, float] | None = None, width: float = 11) -> Figure:
    """The network, `width` inches wide, with the values of a pass if given."""
    figure = Figure(figsize=(width, 0.3 * width))
    figure.set_layout_engine("none")
    draw_network(figure.add_axes((0, 0, 1, 1)), values or {})
    return figure


def steps(training: Training) -> Figure:
    """The first pass, the update and the next pass, with one panel per step and all numbers."""
    first, second = training.iterations[:2]
    known = {"η": training.learning_rate, **first.numbers()}
    after = second.values()
    given = {name: known[name] for name in after if name[0] in "itw"}
    updated = {name: after[name] for name in given}
    figure = Figure(figsize=(18, 13.5))
    figure.set_layout_engine("none")
    margins = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.97, "wspace": 0.03}
    panels = list(figure.subplots(3, 3, gridspec_kw={**margins, "hspace": 0.06}).flat)

    question = "Which weights bring the outputs a_o closer to the targets t?"
    _draw_step(panels[0], 1, Step("Given", question, " ".join(given), {}), given, {}, {})
    shown = given
    for number, step in enumerate(STEPS, start=2):
        computed = {name: known[name] for name in step.equations if name in known}
        if step.colour == ONWARD:
            shown = shown | computed
        update = step.equations is equations.UPDATE
        values, results = (updated, after) if update else (shown | computed, known)
        _draw_step(panels[number - 1], number, step, values, known, results)
    old, new = first.forward.E_total, second.forward.E_total
    last = Step(
        f"Forward again: the loss {'fell' if new < old else 'did not fall'}",
        f"E_total was {old:.4g} before the update and is {new:.4g} now. Repeat.",
        " ".join(ALL),
        _forward("E1", "E2", "E_total"),
    )
    _draw_step(panels[8], 9, last, after, after, after)
    return figure


def _draw_step(
    axes: Axes,
    number: int,
    step: Step,
    shown: Mapping[str, float],
    known: Mapping[str, float],
    results: Mapping[str, float],
) -> None:
    """Draw the network with the values `shown`, and the equations with their numbers below it."""
    draw_network(axes, shown, step.where.split(), step.colour, fontsize=7.5)
    axes.set_title(f"{number}  {step.title}", loc="left", color=step.colour, weight="bold")
    lines = []
    for name, equation in step.equations.items():
        numbers = substitute(equation, lambda name: _number(known[name]))
        left, right = as_text(name, equation), as_text("", f"{numbers} = {results[name]:.4g}")
        lines.append(left + right if len(left + right) < 72 else f"{left}\n     {right}")
    style: dict[str, Any] = {"va": "top", "linespacing": 1.4}
    axes.text(-0.5, -1.3, step.explanation, style="italic", **style)
    axes.text(-0.5, -2, "\n".join(lines), **style)
    axes.set_ylim(bottom=-7.2)


def draw_network(
    axes: Axes,
    values: Mapping[str, float],
    active: Collection[str] = ALL,
    colour: str = "black",
    fontsize: float = 9,
) -> None:
    """Draw the network with the given values.

    The neurons and weights in `active`, and the edges between two of them, have the given colour;
    the others are pale. In the colour of the backward pass, the arrows point backward, and a
    derivative among the values replaces the value of the neuron or weight.
    """
    for (start, end), name in EDGES.items():
        lit = name in active or {start, end} <= set(active)
        (x0, y0), (x1, y1) = NODES[start], NODES[end]
        share = RADIUS / ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = share * (x1 - x0), share * (y1 - y0)
        arrow: dict[str, Any] = {
            "arrowstyle": "<|-" if lit and colour == BACK else "-|>",
            "color": colour if lit else IDLE,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axes.annotate("", (x1 - dx, y1 - dy), (x0 + dx, y0 + dy), arrowprops=arrow)
        if y0 == y1:  # next to the middle of the edge
            along, aside, side, ground = 0.5, 0.2 if y0 else -0.2, "bottom" if y0 else "top", "none"
        else:  # on the edge, but not in the middle, where two edges cross
            along, aside, side, ground = 0.3, 0, "center", "white"
        axes.text(
            x0 + along * (x1 - x0),
            y0 + along * (y1 - y0) + aside,
            _label(name, values if lit or colour != BACK else {}),
            ha="center",
            va=side,
            fontsize=0.85 * fontsize if f"∂E/∂{name}" in values else fontsize,
            color="black" if lit else IDLE,
            bbox={"facecolor": ground, "edgecolor": "none", "pad": 0.6},
        )
    for name, (x, y) in NODES.items():
        lit = name in active
        face, edge = (FILL[name[0]], colour) if lit else ("white", IDLE)
        ink = "black" if lit else IDLE
        axes.add_patch(Circle((x, y), RADIUS, facecolor=face, edgecolor=edge, linewidth=1.5))
        size = fontsize if name == "E_total" else 10  # E_total is wider
        axes.text(x, y, _label(name, {}), ha="center", va="center", color=ink, fontsize=size)
        if name in values and (lit or colour != BACK):
            up = name.endswith("1")  # away from the edges
            height, side = (y + RADIUS + 0.12, "bottom") if up else (y - RADIUS - 0.12, "top")
            label = _label(name, values).removeprefix(f"{_label(name, {})} = ")
            axes.text(x, height, label, ha="center", va=side, fontsize=fontsize, color=ink)
    axes.set_xlim(-0.7, 15.2)
    axes.set_ylim(-1, 3.2)
    axes.set_aspect("equal")
    axes.axis("off")


def _label(name: str, values: Mapping[str, float]) -> str:
    """A name in TeX notation, with its derivative or else its value, if known."""
    name, digits = (f"∂E/∂{name}", 3) if f"∂E/∂{name}" in values else (name, 4)
    label = re.sub(r"([A-Za-z])_?([A-Za-z0-9]+)", r"\1_{\2}", name)
    label = label.replace("{total}", r"{\mathrm{total}}")
    value = f" = {values[name]:.{digits}g}" if name in values else ""
    return f"${label}${value}" if label else ""


def _number(value: float) -> str:
    """A number in an equation, in parentheses if it is negative."""
    return f"({value:.4g})" if value < 0 else f"{value:.4g}"
