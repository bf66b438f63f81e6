"""The equations as text: for the workbook's formulas, and for display.

`network` has the same equations as code. Later equations may use the names defined by earlier ones.
"""

import re
from collections.abc import Callable

FORWARD = {
    "h1": "w1*i1 + w2*i2",
    "a_h1": "1/(1 + exp(-h1))",
    "h2": "w3*i1 + w4*i2",
    "a_h2": "1/(1 + exp(-h2))",
    "o1": "w5*a_h1 + w6*a_h2",
    "a_o1": "1/(1 + exp(-o1))",
    "o2": "w7*a_h1 + w8*a_h2",
    "a_o2": "1/(1 + exp(-o2))",
    "E1": "(t1 - a_o1)^2/2",
    "E2": "(t2 - a_o2)^2/2",
    "E_total": "E1 + E2",
}
OUTPUT_LAYER = {
    "∂E/∂w5": "(a_o1 - t1)*a_o1*(1 - a_o1)*a_h1",
    "∂E/∂w6": "(a_o1 - t1)*a_o1*(1 - a_o1)*a_h2",
    "∂E/∂w7": "(a_o2 - t2)*a_o2*(1 - a_o2)*a_h1",
    "∂E/∂w8": "(a_o2 - t2)*a_o2*(1 - a_o2)*a_h2",
}
HIDDEN_ACTIVATIONS = {
    "∂E1/∂a_h1": "(a_o1 - t1)*a_o1*(1 - a_o1)*w5",
    "∂E2/∂a_h1": "(a_o2 - t2)*a_o2*(1 - a_o2)*w7",
    "∂E/∂a_h1": "∂E1/∂a_h1 + ∂E2/∂a_h1",
    "∂E1/∂a_h2": "(a_o1 - t1)*a_o1*(1 - a_o1)*w6",
    "∂E2/∂a_h2": "(a_o2 - t2)*a_o2*(1 - a_o2)*w8",
    "∂E/∂a_h2": "∂E1/∂a_h2 + ∂E2/∂a_h2",
}
HIDDEN_LAYER = {
    "∂E/∂w1": "∂E/∂a_h1 * a_h1*(1 - a_h1)*i1",
    "∂E/∂w2": "∂E/∂a_h1 * a_h1*(1 - a_h1)*i2",
    "∂E/∂w3": "∂E/∂a_h2 * a_h2*(1 - a_h2)*i1",
    "∂E/∂w4": "∂E/∂a_h2 * a_h2*(1 - a_h2)*i2",
}
UPDATE = {f"w{n}": f"w{n} - η*∂E/∂w{n}" for n in range(1, 9)}
WITHOUT_PARENTHESES = {  # the error in the original
    "∂E/∂w1": "∂E1/∂a_h1 + ∂E2/∂a_h1 * a_h1*(1 - a_h1)*i1",
    "∂E/∂w2": "∂E1/∂a_h1 + ∂E2/∂a_h1 * a_h1*(1 - a_h1)*i2",
    "∂E/∂w3": "∂E1/∂a_h2 + ∂E2/∂a_h2 * a_h2*(1 - a_h2)*i1",
    "∂E/∂w4": "∂E1/∂a_h2 + ∂E2/∂a_h2 * a_h2*(1 - a_h2)*i2",
}
NAME = re.compile(r"∂\w+/∂\w+|[^\W\d]\w*")


def substitute(equation: str, replacement: Callable[[str], str]) -> str:
    """The equation with every name except `exp` replaced."""
    return NAME.sub(
        lambda match: match[0] if match[0] == "exp" else replacement(match[0]), equation
    )


def expand(equation: str) -> str:
    """The equation with the hidden activations' derivatives expanded: they have no cells."""
    while any(name in HIDDEN_ACTIVATIONS for name in NAME.findall(equation)):
        equation = substitute(
            equation,
            lambda name: f"({HIDDEN_ACTIVATIONS[name]})" if name in HIDDEN_ACTIVATIONS else name,
        )
    return equation


def as_text(name: str, equation: str) -> str:
    """The equation of a name in typographic plain text, such as · for *."""
    line = f"{name} {'←' if name in UPDATE else '='} {equation}".replace("∂E/", "∂E_total/")
    return line.replace("^2/2", "²/2").replace("*", "·").replace("-", "−")
