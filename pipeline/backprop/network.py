"""The 2-2-2 sigmoid network: its equations, each a line, and gradient descent with them.

The names are those of the equations: i inputs, t targets, h and o weighted sums of the hidden and
output neurons, a_h and a_o their activations, w1 to w8 weights (w1, w2 lead to h1; w3, w4 to h2;
w5, w6 to o1; w7, w8 to o2; there is no bias), E1, E2 and E_total half squared errors, dE_dw1 the
partial derivative ∂E_total/∂w1. All numbers are float64.
"""

import math
import random
from typing import NamedTuple

# what params.yaml and the workbook take, by the first letter
LIMITS = {"η": (1e-6, 100.0), "i": (-10.0, 10.0), "t": (0.0, 1.0), "w": (-10.0, 10.0)}

COLUMNS = (  # of the table of iterations
    *("t1", "t2", "i1", "i2", "w1", "w2", "w3", "w4", "h1", "a_h1", "h2", "a_h2"),
    *("w5", "w6", "w7", "w8", "o1", "a_o1", "o2", "a_o2", "E1", "E2", "E_total"),
    *("∂E/∂w1", "∂E/∂w2", "∂E/∂w3", "∂E/∂w4", "∂E/∂w5", "∂E/∂w6", "∂E/∂w7", "∂E/∂w8"),
)

Pair = tuple[float, float]
Weights = tuple[float, float, float, float, float, float, float, float]


class Forward(NamedTuple):
    """What the network computes from inputs and weights, and how wrong it is."""

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
    """Partial derivatives of the errors, by the chain rule from the outputs to w1."""

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
        """The derivatives by their names in mathematics: dE_dw1 as ∂E/∂w1."""
        return {
            name.replace("_d", "/∂", 1).replace("d", "∂", 1): d
            for name, d in self._asdict().items()
        }


class Iteration(NamedTuple):
    """What was given, what came out, and the derivatives."""

    inputs: Pair
    targets: Pair
    weights: Weights
    forward: Forward
    backward: Backward

    def values(self) -> dict[str, float]:
        """What was given and what came out, by name."""
        weights = {f"w{n}": weight for n, weight in enumerate(self.weights, start=1)}
        (i1, i2), (t1, t2) = self.inputs, self.targets
        return {"i1": i1, "i2": i2, "t1": t1, "t2": t2, **weights, **self.forward._asdict()}

    def numbers(self) -> dict[str, float]:
        """The values and the derivatives, by name."""
        return self.values() | self.backward.by_name()

    def row(self) -> dict[str, float]:
        """The numbers that stand in the table of iterations, in its order."""
        numbers = self.numbers()
        return {name: numbers[name] for name in COLUMNS}


class Training(NamedTuple):
    """A gradient descent: the state before the first update of the weights, and after each."""

    learning_rate: float
    iterations: list[Iteration]

    @property
    def label(self) -> str:
        """Its learning rate, which distinguishes it from the other trainings."""
        return rate_label(self.learning_rate)

    @property
    def losses(self) -> list[float]:
        """E_total of each iteration."""
        return [iteration.forward.E_total for iteration in self.iterations]

    def rows(self) -> list[dict[str, float]]:
        """The table of iterations, in which each row begins with its number."""
        return [{"iteration": n, **it.row()} for n, it in enumerate(self.iterations)]


def rate_label(learning_rate: float) -> str:
    """A learning rate as spreadsheets write it, with 15 digits."""
    return f"η = {learning_rate:.15g}"


def sigmoid(x: float) -> float:
    """σ(x) = 1 / (1 + exp(-x)); 1e-308 where exp(-x) would leave the range of float64."""
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
    """The backward pass, from what the forward pass of the same weights computed."""
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
    """∂E_total/∂w1 to w4 as the original printed them, which is wrong.

    There the sum ∂E1/∂a_h + ∂E2/∂a_h stands without parentheses before a_h * (1 - a_h) * i, so
    that its first term is not multiplied by them.
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
    """Gradient descent: w ← w - η ∂E_total/∂w, all eight weights at once, so many times."""
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
    """Eight weights, each uniform between -1 and 1; the same for the same seed, on any machine."""
    generator = random.Random(seed)  # noqa: S311, no secret
    w1, w2, w3, w4, w5, w6, w7, w8 = (generator.uniform(-1, 1) for _ in range(8))
    return w1, w2, w3, w4, w5, w6, w7, w8
