"""The 2-2-2 sigmoid network: its equations, one per line, and gradient descent with them.

Names: i inputs, t targets, h and o weighted sums of the hidden and output neurons, a_h and a_o
their activations, w1 to w8 weights (w1, w2 of h1; w3, w4 of h2; w5, w6 of o1; w7, w8 of o2; no
bias), E1, E2 and E_total half squared errors, dE_dw1 the partial derivative ∂E_total/∂w1. All
numbers are float64.
"""

import math
import random
from typing import NamedTuple

# the range of values in params.yaml and the workbook, by the first letter of a name
LIMITS = {"η": (1e-6, 100.0), "i": (-10.0, 10.0), "t": (0.0, 1.0), "w": (-10.0, 10.0)}

COLUMNS = (  # of the table of iterations
    *("t1", "t2", "i1", "i2", "w1", "w2", "w3", "w4", "h1", "a_h1", "h2", "a_h2"),
    *("w5", "w6", "w7", "w8", "o1", "a_o1", "o2", "a_o2", "E1", "E2", "E_total"),
    *("∂E/∂w1", "∂E/∂w2", "∂E/∂w3", "∂E/∂w4", "∂E/∂w5", "∂E/∂w6", "∂E/∂w7", "∂E/∂w8"),
)

Pair = tuple[float, float]
Weights = tuple[float, float, float, float, float, float, float, float]


class Forward(NamedTuple):
    """The results of a forward pass: weighted sums, activations and errors."""

    h1: float
    a_h1: float
    h2: float
    a_h2: float
    o1: float
    a_o1: float
    o2: float
    a_o2: float
    E1: float
    E2: float
    E_total: float


class Backward(NamedTuple):
    """The results of a backward pass: partial derivatives of the errors."""

    dE1_da_h1: float
    dE2_da_h1: float
    dE_da_h1: float
    dE1_da_h2: float
    dE2_da_h2: float
    dE_da_h2: float
    dE_dw1: float
    dE_dw2: float
    dE_dw3: float
    dE_dw4: float
    dE_dw5: float
    dE_dw6: float
    dE_dw7: float
    dE_dw8: float

    @property
    def gradient(self) -> Weights:
        """∂E_total/∂w1 ... ∂E_total/∂w8."""
        return self[6:]

    def by_name(self) -> dict[str, float]:
        """The derivatives by mathematical name: ∂E/∂w1 for dE_dw1."""
        return {
            name.replace("_d", "/∂", 1).replace("d", "∂", 1): d
            for name, d in self._asdict().items()
        }


class Iteration(NamedTuple):
    """One iteration: the inputs, targets and weights, and the results of both passes."""

    inputs: Pair
    targets: Pair
    weights: Weights
    forward: Forward
    backward: Backward

    def values(self) -> dict[str, float]:
        """Inputs, targets, weights and results of the forward pass, by name."""
        weights = {f"w{n}": weight for n, weight in enumerate(self.weights, start=1)}
        (i1, i2), (t1, t2) = self.inputs, self.targets
        return {"i1": i1, "i2": i2, "t1": t1, "t2": t2, **weights, **self.forward._asdict()}

    def numbers(self) -> dict[str, float]:
        """The values and the derivatives, by name."""
        return self.values() | self.backward.by_name()

    def row(self) -> dict[str, float]:
        """The row of the table of iterations, by column name."""
        numbers = self.numbers()
        return {name: numbers[name] for name in COLUMNS}


class Training(NamedTuple):
    """A gradient descent: the state before the first update and after each update."""

    learning_rate: float
    iterations: list[Iteration]

    @property
    def label(self) -> str:
        """The learning rate, which distinguishes this training from others."""
        return rate_label(self.learning_rate)

    @property
    def losses(self) -> list[float]:
        """E_total of each iteration."""
        return [iteration.forward.E_total for iteration in self.iterations]

    def rows(self) -> list[dict[str, float]]:
        """The table of iterations; each row starts with its number."""
        return [{"iteration": n, **it.row()} for n, it in enumerate(self.iterations)]


def rate_label(learning_rate: float) -> str:
    """A learning rate with 15 significant digits, as spreadsheets write it."""
    return f"η = {learning_rate:.15g}"


def sigmoid(x: float) -> float:
    """σ(x) = 1 / (1 + exp(-x)); about 1e-308 where exp(-x) would overflow float64."""
    return 1 / (1 + math.exp(min(709, -x)))


def forward(inputs: Pair, targets: Pair, weights: Weights) -> Forward:
    """The forward pass."""
    i1, i2 = inputs
    t1, t2 = targets
    w1, w2, w3, w4, w5, w6, w7, w8 = weights

    h1 = w1 * i1 + w2 * i2
    a_h1 = sigmoid(h1)
    h2 = w3 * i1 + w4 * i2
    a_h2 = sigmoid(h2)

    o1 = w5 * a_h1 + w6 * a_h2
    a_o1 = sigmoid(o1)
    o2 = w7 * a_h1 + w8 * a_h2
    a_o2 = sigmoid(o2)

    E1 = (t1 - a_o1) ** 2 / 2
    E2 = (t2 - a_o2) ** 2 / 2
    E_total = E1 + E2

    return Forward(h1, a_h1, h2, a_h2, o1, a_o1, o2, a_o2, E1, E2, E_total)


def backward(inputs: Pair, targets: Pair, weights: Weights, state: Forward) -> Backward:
    """The backward pass; `state` is the result of the forward pass with the same weights."""
    i1, i2 = inputs
    t1, t2 = targets
    w5, w6, w7, w8 = weights[4:]
    a_h1, a_h2, a_o1, a_o2 = state.a_h1, state.a_h2, state.a_o1, state.a_o2

    dE_dw5 = (a_o1 - t1) * a_o1 * (1 - a_o1) * a_h1
    dE_dw6 = (a_o1 - t1) * a_o1 * (1 - a_o1) * a_h2
    dE_dw7 = (a_o2 - t2) * a_o2 * (1 - a_o2) * a_h1
    dE_dw8 = (a_o2 - t2) * a_o2 * (1 - a_o2) * a_h2

    dE1_da_h1 = (a_o1 - t1) * a_o1 * (1 - a_o1) * w5
    dE2_da_h1 = (a_o2 - t2) * a_o2 * (1 - a_o2) * w7
    dE_da_h1 = dE1_da_h1 + dE2_da_h1
    dE1_da_h2 = (a_o1 - t1) * a_o1 * (1 - a_o1) * w6
    dE2_da_h2 = (a_o2 - t2) * a_o2 * (1 - a_o2) * w8
    dE_da_h2 = dE1_da_h2 + dE2_da_h2

    dE_dw1 = dE_da_h1 * a_h1 * (1 - a_h1) * i1
    dE_dw2 = dE_da_h1 * a_h1 * (1 - a_h1) * i2
    dE_dw3 = dE_da_h2 * a_h2 * (1 - a_h2) * i1
    dE_dw4 = dE_da_h2 * a_h2 * (1 - a_h2) * i2

    return Backward(
        *(dE1_da_h1, dE2_da_h1, dE_da_h1, dE1_da_h2, dE2_da_h2, dE_da_h2),
        *(dE_dw1, dE_dw2, dE_dw3, dE_dw4, dE_dw5, dE_dw6, dE_dw7, dE_dw8),
    )


def gradient_without_parentheses(iteration: Iteration) -> tuple[float, float, float, float]:
    """∂E_total/∂w1 to ∂E_total/∂w4 with the error in the original.

    It omits the parentheses around ∂E1/∂a_h + ∂E2/∂a_h, so that a_h * (1 - a_h) * i multiplies
    only the second term.
    """
    i1, i2 = iteration.inputs
    a_h1, a_h2 = iteration.forward.a_h1, iteration.forward.a_h2
    derivatives = iteration.backward
    return (
        derivatives.dE1_da_h1 + derivatives.dE2_da_h1 * a_h1 * (1 - a_h1) * i1,
        derivatives.dE1_da_h1 + derivatives.dE2_da_h1 * a_h1 * (1 - a_h1) * i2,
        derivatives.dE1_da_h2 + derivatives.dE2_da_h2 * a_h2 * (1 - a_h2) * i1,
        derivatives.dE1_da_h2 + derivatives.dE2_da_h2 * a_h2 * (1 - a_h2) * i2,
    )


def train(
    inputs: Pair, targets: Pair, weights: Weights, learning_rate: float, updates: int
) -> Training:
    """Gradient descent: w ← w - η ∂E_total/∂w for all eight weights at once, `updates` times."""
    iterations = []
    for _ in range(updates + 1):
        state = forward(inputs, targets, weights)
        derivatives = backward(inputs, targets, weights, state)
        iterations.append(Iteration(inputs, targets, weights, state, derivatives))
        weights = updated(weights, derivatives.gradient, learning_rate)
    return Training(learning_rate, iterations)


def updated(weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
    """The weights after one update."""
    w1, w2, w3, w4, w5, w6, w7, w8 = (
        weight - learning_rate * derivative
        for weight, derivative in zip(weights, gradient, strict=True)
    )
    return w1, w2, w3, w4, w5, w6, w7, w8


def random_weights(seed: int) -> Weights:
    """Eight weights, uniform from -1 to 1; the same seed gives the same weights on any machine."""
    generator = random.Random(seed)  # noqa: S311, no secret
    w1, w2, w3, w4, w5, w6, w7, w8 = (generator.uniform(-1, 1) for _ in range(8))
    return w1, w2, w3, w4, w5, w6, w7, w8
