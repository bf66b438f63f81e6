"""The types and ranges of the values of the 2-2-2 network in params.yaml."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, WrapValidator

from pipeline.backprop.network import LIMITS, rate_label


def _within(limits: tuple[float, float]) -> Any:
    return Field(ge=limits[0], le=limits[1])


def _eight_or_random(value: Any, validate: Callable[[Any], Any]) -> Any:
    """Replace the errors of both alternatives with one message."""
    try:
        return validate(value)
    except ValidationError as error:
        low, high = LIMITS["w"]
        raise ValueError(
            f"must be eight numbers between {low:g} and {high:g}, or random"
        ) from error


def _all_different(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(map(rate_label, values))) < len(values):
        raise ValueError("a value appears twice")
    return values


Input = Annotated[float, _within(LIMITS["i"])]
Target = Annotated[float, _within(LIMITS["t"])]
Weight = Annotated[float, _within(LIMITS["w"])]
EightWeights = Annotated[
    tuple[Weight, Weight, Weight, Weight, Weight, Weight, Weight, Weight],
    Field(strict=False),  # `_eight_or_random` passes a list
]
WeightsOrRandom = Annotated[EightWeights | Literal["random"], WrapValidator(_eight_or_random)]
LearningRate = Annotated[float, _within(LIMITS["η"])]
LearningRates = Annotated[
    tuple[LearningRate, ...], Field(min_length=1, max_length=8), AfterValidator(_all_different)
]
