"""Training matches a plain statement of the recipe, and each parameter has its effect.

The plain statement below spells out the formulas: learning rate, Nesterov's momentum, Muon,
label smoothing and moving average. test_augmentation.py tests the distortions.
"""

import math
import re
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.mnist import TASK
from pipeline.mnist.augmentation import random_affine, random_noise, random_strokes
from pipeline.training.network import build_network
from pipeline.training.optimizer import Optimizer
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Epoch, Trainer, train
from tests.digits import make_digits

RECIPE = Recipe(
    seed=3,
    epochs=2,
    batch_size=16,
    peak_learning_rate=0.01,
    vector_rate=2.0,
    warmup=0.4,
    momentum=0.8,
    weight_decay=1.0,
    weight_average=0.3,
    label_smoothing=0.5,
    dropout=(0.1, 0.1, 0.1, 0.1),
    rotation=10.0,
    shift=0.05,
    scale=0.1,
    thicken=0.3,
    thin=0.5,
    noise=0.1,
    validation_size=0,
    device="cpu",
    precision="float32",
)
OTHERS: dict[str, Any] = {
    "seed": 4,
    "epochs": 1,
    "batch_size": 12,
    "peak_learning_rate": 0.02,
    "vector_rate": 20.0,
    "warmup": 0.0,
    "momentum": 0.2,
    "weight_decay": 0.0,
    "weight_average": 0.05,
    "label_smoothing": 0.0,
    "dropout": (0.0, 0.0, 0.0, 0.5),
    "rotation": 0.0,
    "shift": 0.2,
    "scale": 0.4,
    "thicken": 1.0,
    "thin": 0.0,
    "noise": 0.5,
    "validation_size": 8,
    "precision": "bfloat16",
}
BOUNDS = [
    ("seed", 0, 2**31),
    ("epochs", 1, 10_000),
    ("batch_size", 2, 1_000_000),
    ("peak_learning_rate", 1e-9, 1e9),
    ("warmup", 0.0, 0.99),
    ("vector_rate", 0.0, 1e6),
    ("weight_decay", 0.0, 1.0),
    ("weight_average", 0.0, 0.999999),
    ("label_smoothing", 0.0, 0.99),
    ("dropout", 0.0, 0.99),
    ("rotation", 0.0, 180.0),
    ("shift", 0.0, 1.0),
    ("scale", 0.0, 0.9),
    ("thicken", 0.0, 1.0),
    ("thin", 0.0, 1.0),
    ("noise", 0.0, 10.0),
    ("validation_size", 0, 1_000_000_000),
]
# root mean square difference: twice the rounding of float32 and bfloat16
ROUNDING = 2e-4
Digits = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """40 images: two batches of 16, and 8 images that are left out in each epoch."""
    images, labels = make_digits(40, seed=1)
    return torch.from_numpy(images), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def baseline(digits: Digits) -> Epoch:
    *_, last = train(TASK, *digits, RECIPE)
    return last


def stated(
    images: Tensor, labels: Tensor, recipe: Recipe
) -> tuple[dict[str, Tensor], float, float]:
    """The averaged weights, learning rate and mean loss of the last epoch, by plain formulas."""
    torch.manual_seed(recipe.seed)
    network = build_network(TASK, recipe.dropout).to(memory_format=torch.channels_last)
    parameters = list(network.parameters())
    momenta: dict[int, Tensor] = {}
    average: dict[str, Tensor] = {}
    size = len(images) - recipe.validation_size
    steps_per_epoch = size // recipe.batch_size
    total = recipe.epochs * steps_per_epoch
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        seed = recipe.seed * 10_007 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        losses = 0.0
        batches = torch.randperm(size, generator=generator).split(recipe.batch_size)
        for batch in batches[:steps_per_epoch]:
            step += 1
            rate = stated_rate(step / total, recipe)
            pixels = stated_augmentation(images[batch], generator, recipe)
            inputs = ((pixels / 255 - 0.1307) / 0.3081).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", enabled=recipe.precision == "bfloat16"):
                scores = network(inputs).flatten(1).float()
            spread = torch.full((len(batch), 10), recipe.label_smoothing / 10)
            spread[torch.arange(len(batch)), labels[batch].long()] += 1 - recipe.label_smoothing
            loss = -(spread * scores.log_softmax(1)).sum(1).mean()
            losses += loss.item()
            for index, gradient in enumerate(torch.autograd.grad(loss, parameters)):
                move = stated_kernel_step if gradient.ndim > 1 else stated_vector_step
                momenta[index] = move(
                    parameters[index].data, gradient, momenta.get(index), rate, recipe
                )
            early = step / (9 + step) if step > 1 else 0.0  # the average starts as the first step
            decay = min(recipe.weight_average, early)
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    old = average.get(name, tensor)
                    average[name] = decay * old + (1 - decay) * tensor
    return average, rate, losses / steps_per_epoch


def stated_rate(progress: float, recipe: Recipe) -> float:
    if progress < recipe.warmup:
        return recipe.peak_learning_rate * progress / recipe.warmup
    angle = math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.peak_learning_rate * (0.5 + 0.5 * math.cos(angle))


def stated_augmentation(images: Tensor, generator: torch.Generator, recipe: Recipe) -> Tensor:
    pixels = images[:, None].float()
    pixels = random_affine(
        pixels, generator, rotation=recipe.rotation, shift=recipe.shift, scale=recipe.scale
    )
    pixels = random_strokes(pixels, generator, thicken=recipe.thicken, thin=recipe.thin)
    return random_noise(pixels, generator, noise=recipe.noise)


def stated_vector_step(
    vector: Tensor, gradient: Tensor, momentum: Tensor | None, rate: float, recipe: Recipe
) -> Tensor:
    """SGD with Nesterov's momentum, no weight decay; returns the momentum."""
    momentum = gradient if momentum is None else recipe.momentum * momentum + gradient
    vector -= recipe.vector_rate * rate * (gradient + recipe.momentum * momentum)
    return momentum


def stated_kernel_step(
    kernel: Tensor, gradient: Tensor, momentum: Tensor | None, rate: float, recipe: Recipe
) -> Tensor:
    """Muon with Nesterov's momentum and decoupled weight decay; returns the momentum."""
    old = torch.zeros_like(gradient) if momentum is None else momentum
    momentum = torch.lerp(old, gradient, 1 - recipe.momentum)
    direction = torch.lerp(gradient, momentum, recipe.momentum)
    matrix = direction.permute(0, 2, 3, 1).flatten(1)
    rows, columns = matrix.shape
    matrix = matrix.T if rows > columns else matrix
    matrix = matrix / matrix.norm()
    for _ in range(5):  # Newton-Schulz: towards the nearest matrix with orthogonal rows
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix - 4.7750 * square @ matrix + 2.0315 * square @ square @ matrix
    matrix = matrix.T if rows > columns else matrix
    orthogonal = matrix.unflatten(1, (*kernel.shape[2:], -1)).permute(0, 3, 1, 2)
    kernel *= 1 - rate * recipe.weight_decay
    kernel -= rate * 0.2 * math.sqrt(max(rows, columns)) * orthogonal
    return momentum


def difference(weights: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """Root mean square over all weights and statistics."""
    squares = torch.cat([(weights[name] - others[name]).flatten() ** 2 for name in others])
    return float(squares.mean().sqrt())


def test_training_follows_the_recipe(digits: Digits, baseline: Epoch) -> None:
    average, rate, loss = stated(*digits, RECIPE)
    assert difference(baseline.weights, average) < ROUNDING
    assert baseline.figures["training_loss"] == pytest.approx(loss, abs=0.001)
    assert baseline.figures["learning_rate"] == pytest.approx(rate, abs=1e-12)
    assert rate == pytest.approx(0, abs=1e-12)  # the last step ends the cycle


@pytest.mark.parametrize("name", OTHERS)
def test_each_parameter_has_its_stated_effect(name: str, digits: Digits, baseline: Epoch) -> None:
    recipe = replace(RECIPE, **{name: OTHERS[name]})
    *_, last = train(TASK, *digits, recipe)
    average, _, loss = stated(*digits, recipe)
    assert difference(last.weights, average) < ROUNDING
    assert difference(last.weights, baseline.weights) > 2 * ROUNDING
    assert last.figures["training_loss"] == pytest.approx(loss, abs=0.001)


def test_every_parameter_is_tested() -> None:
    assert {*OTHERS, "device"} == {field.name for field in fields(Recipe)}


def test_progress_is_the_mean_of_the_images_so_far(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All batches have the same size; what is left over is left out, other images each time."""
    monkeypatch.setattr(Trainer, "progress_interval", 0)
    heard: list[tuple[int, float, float]] = []
    epoch = next(train(TASK, *digits, RECIPE, on_progress=lambda *now: heard.append(now)))
    assert [images for images, _, _ in heard] == [16, 32]
    assert (
        heard[0][1:]
        != heard[1][1:]
        == tuple(epoch.figures[name] for name in ("training_loss", "training_accuracy"))
    )


def test_progress_is_not_read_in_every_step(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading makes a GPU wait."""
    monkeypatch.setattr(Trainer, "progress_interval", math.inf)
    heard: list[int] = []
    next(train(TASK, *digits, RECIPE, on_progress=lambda images, *_: heard.append(images)))
    assert heard == [32]  # the end of the epoch


def test_validation_uses_the_averaged_weights(digits: Digits) -> None:
    images, labels = digits
    epoch = next(train(TASK, images, labels, replace(RECIPE, batch_size=8, validation_size=8)))
    network = build_network(TASK).eval()
    network.load_state_dict(epoch.weights)
    with torch.inference_mode():
        scores = network((images[-8:, None] / 255 - 0.1307) / 0.3081).flatten(1)
    expected = F.cross_entropy(scores, labels[-8:].long()).item()
    assert epoch.figures["validation_loss"] == pytest.approx(expected, rel=1e-4)


def test_a_set_of_exactly_one_batch_is_accepted(digits: Digits) -> None:
    images, labels = digits
    assert Trainer(TASK, images, labels, replace(RECIPE, validation_size=24)).steps_per_epoch == 1
    with pytest.raises(ValueError, match="validation_size 25 do not fill one batch of"):
        Trainer(TASK, images, labels, replace(RECIPE, validation_size=25))


def test_kernels_in_the_wrong_memory_format_are_refused() -> None:
    """Muon updates a view of each kernel; in another memory format it would update a copy."""
    network = build_network(TASK)
    with pytest.raises(ValueError, match=r"\[16, 16, 3, 3\] is not channels-last"):
        Optimizer(network, RECIPE)
    Optimizer(network.to(memory_format=torch.channels_last), RECIPE)


def test_the_learning_rate_rises_linearly_and_falls_to_zero() -> None:
    recipe = replace(RECIPE, peak_learning_rate=0.05, warmup=0.2)
    assert recipe.learning_rate(0.1) == pytest.approx(0.025)
    assert recipe.learning_rate(0.2) == pytest.approx(0.05)
    assert recipe.learning_rate(0.6) == pytest.approx(0.025)
    assert recipe.learning_rate(1.0) == pytest.approx(0)


@pytest.mark.parametrize(("name", "low", "high"), BOUNDS)
def test_values_out_of_range_are_refused(name: str, low: float, high: float) -> None:
    def with_value(value: float) -> Recipe:
        changed = (0.0, 0.0, 0.0, value) if name == "dropout" else value
        return replace(RECIPE, **{name: changed})  # type: ignore[arg-type]

    for allowed in (low, high):
        with_value(allowed)
    below, above = (low - 1, high + 1) if isinstance(low, int) else (low - 1e-12, high * 1.0001)
    for refused in (below, above, math.nan):
        with pytest.raises(
            ValueError, match=f"{name} is .* {re.escape(f'between {low:g} and {high:g}')}"
        ):
            with_value(refused)


def test_zero_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum is 0"):
        replace(RECIPE, momentum=0)
