"""The hand-derived gradients agree with autograd, SymPy and the written equations."""

import math
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest
import sympy  # type: ignore[import-untyped]
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.text import Text

from pipeline.backprop import diagram, equations, figures, network, rates
from pipeline.backprop.network import Pair, Weights, train
from pipeline.backprop.rates import Outcome
from pipeline.core.figures import Figure

START: tuple[Pair, Pair, Weights] = (  # inputs, targets, weights of the spreadsheet
    *((0.05, 0.1), (0.5, 0.5)),
    (0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55),
)
TRAINING = train(*START, learning_rate=1, updates=67)
ROW = TRAINING.iterations[0].row()
VALUES = TRAINING.iterations[0].values()
SLOPES = TRAINING.iterations[0].backward.by_name()


def pairs(low: float, high: float) -> st.SearchStrategy[Pair]:
    return st.tuples(*[st.floats(low, high)] * 2)


def autograd_derivatives(inputs: Pair, targets: Pair, weights: Weights) -> list[float]:
    """The derivatives, in the order of `network.Backward`, from matrices and torch's autograd."""
    x, t = torch.tensor([inputs, targets], dtype=torch.float64)
    w = torch.tensor(weights, dtype=torch.float64).view(2, 2, 2).requires_grad_()
    hidden = torch.sigmoid(w[0] @ x)
    errors = (torch.sigmoid(w[1] @ hidden) - t) ** 2 / 2

    def grad(error: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(error, of, retain_graph=True)[0]

    of_hidden = torch.stack([grad(error, hidden) for error in (*errors, errors.sum())])
    return [*of_hidden.T.flatten().tolist(), *grad(errors.sum(), w).flatten().tolist()]


@given(inputs=pairs(-2, 2), targets=pairs(0, 1), weights=st.tuples(*[st.floats(-3, 3)] * 8))
@settings(deadline=None)
def test_derivatives_match_autograd(inputs: Pair, targets: Pair, weights: Weights) -> None:
    state = network.forward(inputs, targets, weights)
    found = network.backward(inputs, targets, weights, state)
    assert found == pytest.approx(autograd_derivatives(inputs, targets, weights), rel=0, abs=1e-15)


class Sigmoid(sympy.Function):  # type: ignore[misc]
    """σ with its derivative: errors become polynomials, which SymPy compares quickly."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """The derivative with respect to the argument."""
        return self * (1 - self)


def test_derivatives_match_symbolic_differentiation(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all numbers: run on symbols, the code gives the same expressions as SymPy."""
    i, t, w, a = (sympy.symbols(names) for names in ("i1 i2", "t1 t2", "w1:9", "a"))
    written_out = 1 / (1 + sympy.exp(-a))
    assert sympy.simplify(written_out.diff(a) - written_out * (1 - written_out)) == 0
    monkeypatch.setattr(network, "sigmoid", Sigmoid)
    state = network.forward(i, t, w)
    slopes = network.backward(i, t, w, state)

    def by_activation(error: sympy.Expr, activation: sympy.Expr) -> sympy.Expr:
        return error.subs(activation, a).diff(a).subs(a, activation)

    errors = (state.E1, state.E2, state.E_total)
    hidden = [by_activation(error, a_h) for a_h in (state.a_h1, state.a_h2) for error in errors]
    weights = [sympy.diff(state.E_total, weight) for weight in w]
    for name, expected in zip(slopes._fields, [*hidden, *weights], strict=True):
        assert expected != 0
        assert sympy.expand(expected - getattr(slopes, name)) == 0, name


def test_results_match_the_published_example() -> None:
    losses = TRAINING.losses
    printed = [f"{losses[n]:.8f}" for n in (0, 1, 10)]
    assert printed == ["0.01418138", "0.01337792", "0.00778913"]
    assert f"{losses[67]:.9f}" == "0.000196838"
    assert f"{SLOPES['∂E/∂w1']:.9f}" == "0.000316993"
    wrong = network.gradient_without_parentheses(TRAINING.iterations[0])
    assert f"{wrong[0]:.6f}" == "0.010355"


@pytest.mark.parametrize("learning_rate", [0.1, 10])
def test_training_matches_torchs_sgd(learning_rate: float) -> None:
    x, t = torch.tensor(START[:2], dtype=torch.float64)
    w = torch.tensor(START[2], dtype=torch.float64).view(2, 2, 2).requires_grad_()
    optimiser = torch.optim.SGD([w], lr=learning_rate)
    iterations = train(*START, learning_rate, updates=67).iterations
    assert len(iterations) == 68
    for iteration in iterations:
        loss = ((torch.sigmoid(w[1] @ torch.sigmoid(w[0] @ x)) - t) ** 2).sum() / 2
        assert iteration.forward.E_total == pytest.approx(loss.item(), rel=1e-12)
        assert iteration.weights == pytest.approx(w.flatten().tolist(), rel=1e-12)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def as_code(text: str) -> str:
    """An equation as Python: ∂E/∂w1 as dE_dw1, typographic signs as operators."""
    signs = {"/∂": "_d", "∂": "d", "²": "**2", "^": "**", "·": "*", "−": "-"}
    for sign, code in signs.items():
        text = text.replace(sign, code)
    return text


def value(equation: str, numbers: Mapping[str, float]) -> float:
    """The value of an equation, which may contain no other names."""
    known = {as_code(name): number for name, number in numbers.items()}
    result: float = eval(as_code(equation), {"__builtins__": {}, "exp": math.exp}, known)
    return result


BACKWARD = equations.OUTPUT_LAYER | equations.HIDDEN_ACTIVATIONS | equations.HIDDEN_LAYER
EQUATIONS = {**equations.FORWARD, **BACKWARD}


@pytest.mark.parametrize("iteration", [0, 1, 67])
@pytest.mark.parametrize("name", EQUATIONS)
def test_written_equations_reproduce_the_row(name: str, iteration: int) -> None:
    """In short form, expanded to the spreadsheet's columns, and as shown in figures."""
    chosen = TRAINING.iterations[iteration]
    row, all_numbers = chosen.row(), {**chosen.row(), **chosen.backward.by_name()}
    expected = pytest.approx(all_numbers[name], rel=1e-12)
    assert value(EQUATIONS[name], all_numbers) == expected
    assert value(equations.expand(EQUATIONS[name]), row) == expected
    left, right = equations.as_text(name, EQUATIONS[name]).replace("∂E_total", "∂E").split(" = ")
    assert left == name
    assert value(right, all_numbers) == expected


def test_every_computed_value_has_an_equation() -> None:
    start = {name for name in ROW if name[0] in "tiw"}
    assert set(ROW) - start <= set(EQUATIONS)
    assert set(SLOPES) == set(BACKWARD)


def test_written_updates_reproduce_the_next_row() -> None:
    following = TRAINING.iterations[1].row()
    assert list(equations.UPDATE) == [f"w{n}" for n in range(1, 9)]
    for name, equation in equations.UPDATE.items():
        assert value(equation, {**ROW, "η": 1}) == pytest.approx(following[name], rel=1e-12)


def test_the_wrong_formula_reproduces_the_wrong_gradient() -> None:
    wrong = network.gradient_without_parentheses(TRAINING.iterations[0])
    named = dict(zip(("∂E/∂w1", "∂E/∂w2", "∂E/∂w3", "∂E/∂w4"), wrong, strict=True))
    found = {
        name: value(equations.expand(equation), ROW)
        for name, equation in equations.WITHOUT_PARENTHESES.items()
    }
    assert found == pytest.approx(named, rel=1e-12)
    assert all(abs(found[name] - SLOPES[name]) > 0.009 for name in found)


def test_a_scan_counts_the_updates_that_raise_the_loss() -> None:
    found = rates.scan(*START, updates=67, long_run=1000, learning_rates=[1, 100])
    assert [bool(outcome.rises) for outcome in found] == [False, True]
    for outcome in found:
        losses = train(*START, outcome.learning_rate, updates=1000).losses
        assert outcome[1:3] == (losses[67], losses[1000])
        assert (outcome.rises > 0) == any(b > a > 1e-20 for a, b in pairwise(losses))


@pytest.mark.parametrize(
    ("inputs", "targets", "weights", "rate"),
    [
        pytest.param((0.05, 0.1), (0.2, 0.8), START[2], 50, id="at the minimum"),
        # computed with 50 digits, the loss falls 2,000 times, by 3e-14 in total
        pytest.param((-3, 5), (1, 0), (6, 0, 0, -4, -5, 9, -5, 7), 1, id="on a plateau"),
    ],
)
def test_rounding_errors_do_not_count_as_rises(
    inputs: Pair, targets: Pair, weights: Weights, rate: float
) -> None:
    """Otherwise a rate whose loss always falls would count as unsafe."""
    losses = train(inputs, targets, weights, rate, updates=2000).losses
    rises = [(before, after) for before, after in pairwise(losses) if after > before]
    assert rises  # the case contains rounding errors
    assert all(after - before < 1e-15 * max(1e-12, before) for before, after in rises)
    (outcome,) = rates.scan(inputs, targets, weights, 67, 2000, learning_rates=[rate])
    assert outcome.rises == 0


def test_small_rises_count() -> None:
    """Otherwise a rate that raises the loss by a millionth would count as safe."""
    losses = train(*START, 67.101, updates=1000).losses
    rises = [(after - before) / before**0.5 for before, after in pairwise(losses) if after > before]
    assert 1e-7 < max(rises) < 1e-5
    (outcome,) = rates.scan(*START, updates=67, long_run=1000, learning_rates=[67.101])
    assert outcome.rises > 0


def outcomes(*rises: int) -> list[Outcome]:
    """Made-up outcomes of the learning rates 1, 2, 3, ..."""
    return [Outcome(rate, 0.1, 0.01, count) for rate, count in enumerate(rises, start=1)]


HIGHEST = [
    ((0, 0, 0), 3),
    ((0, 0, 5), 2),
    ((0, 1, 0, 0), 1),  # rates above a rise are not safe
    ((1, 1, 1), None),
    ((), None),
]


@pytest.mark.parametrize(("rises", "highest"), HIGHEST)
def test_the_highest_safe_rate_ends_before_the_first_rise(
    rises: tuple[int, ...], highest: float | None
) -> None:
    assert rates.highest_without_rise(outcomes(*rises)) == highest


def test_random_weights_depend_only_on_the_seed() -> None:
    """The first number of the Mersenne Twister with seed 1 is 0.13436424411240122."""
    assert network.random_weights(1)[0] == 2 * 0.13436424411240122 - 1
    drawn = [network.random_weights(seed) for seed in range(200)]
    assert drawn == [network.random_weights(seed) for seed in range(200)]
    numbers = [weight for weights in drawn for weight in weights]
    assert len(set(numbers)) == 1600
    assert -1 <= min(numbers) < -0.99
    assert 0.99 < max(numbers) <= 1


@pytest.mark.parametrize(
    ("x", "expected"),
    [(-1e4, 0), (-710, 0), (-709, 0), (-700, math.exp(-700)), (0, 0.5), (710, 1), (1e4, 1)],
)
def test_sigmoid_does_not_overflow(x: float, expected: float) -> None:
    assert network.sigmoid(x) == pytest.approx(expected, rel=1e-12, abs=1e-307)


def texts(figure: Figure | Axes) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def test_the_steps_figure_shows_the_first_iteration() -> None:
    shown = "\n".join(texts(diagram.steps(TRAINING)))
    for number in ("0.01418", "0.01288", "0.000317", "0.1497", "0.01338"):
        assert number in shown
    assert "Forward again: the loss fell" in shown


@pytest.mark.parametrize("w", [0.1, 0.0], ids=["rose", "stayed"])
def test_the_steps_figure_claims_no_fall_of_a_loss_that_did_not_fall(w: float) -> None:
    training = train((1, 1), (0.5, 0.5), (1, 1, 1, 1, w, w, w, w), 100, updates=1)
    before, after = training.losses
    assert after > before or after == before == 0
    assert "Forward again: the loss did not fall" in "\n".join(texts(diagram.steps(training)))


def shown_equations(figure: Figure) -> Iterator[tuple[str, str, str]]:
    """The equations shown: name, equation in numbers, result."""
    for text in texts(figure):
        for line in text.replace("\n     ", "").split("\n"):
            match = re.fullmatch(r"(\S+) [=←] (?:.+) = (.+) = (\S+)", line)
            if match:
                yield match[1], match[2], as_code(match[3])


@pytest.mark.parametrize("weights", [START[2], network.random_weights(1)], ids=["given", "random"])
def test_the_numbers_in_a_step_add_up(weights: Weights) -> None:
    """A reader with a calculator gets the result to within the four digits shown."""
    training = train(*START[:2], weights, learning_rate=1, updates=1)
    found = list(shown_equations(diagram.steps(training)))
    assert len(found) == len(EQUATIONS) + 8 + 3  # the updates, and the errors of the next pass
    for name, numbers, result in found:
        assert value(numbers, {}) == pytest.approx(float(result), rel=2e-2), name


def test_the_diagram_labels_each_value() -> None:
    named = texts(diagram.network_diagram(VALUES))
    for name in ("w1", "w8", "t1"):
        assert f"${name[0]}_{{{name[1]}}}$ = {ROW[name]:.4g}" in named
    for name in ("i1", "h1", "a_h2", "o2", "a_o1", "E_total"):
        assert f"{ROW[name]:.4g}" in named
    assert not re.search(r"\d\.\d", "".join(texts(diagram.network_diagram())))


def rates_title(found: list[Outcome]) -> str:
    figure = figures.learning_rates([TRAINING], found, 67, 1000)
    return figure.axes[2].get_title(loc="left")


@pytest.mark.parametrize(("rises", "highest"), HIGHEST[:3])
def test_the_figure_states_the_highest_safe_rate(rises: tuple[int, ...], highest: float) -> None:
    title = rates_title(outcomes(*rises))
    assert title == f"No update raised the loss up to η = {highest:g} ({len(rises)} rates tried)"


def test_the_figure_says_if_no_rate_is_safe() -> None:
    assert "lowest" in rates_title(outcomes(1, 0, 0))


def test_the_figures_plot_the_training_losses() -> None:
    long_run = train(*START, 1, updates=100)
    left, right = figures.loss_curve(TRAINING, long_run).axes
    assert list(left.lines[0].get_ydata()) == TRAINING.losses  # type: ignore[arg-type]
    assert list(right.lines[0].get_ydata()) == long_run.losses  # type: ignore[arg-type]
    others = [train(*START, rate, updates=67) for rate in (0.1, 2)]
    for axes in figures.learning_rates(others, outcomes(0), 67, 1000).axes[:2]:
        shown = {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}  # type: ignore[arg-type]
        assert shown == {"η = 0.1": others[0].losses, "η = 2": others[1].losses}
