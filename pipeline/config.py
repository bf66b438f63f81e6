"""params.yaml as validated, frozen objects: one class per section.

The classes define the type and range of each value; comments in params.yaml explain its meaning.
They live here rather than with the stages because stages are slow to import: every command, even
`--help`, would wait for torch and matplotlib.
"""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.backprop.network import Pair, Weights, random_weights
from pipeline.backprop.ranges import Input, LearningRate, LearningRates, Target, WeightsOrRandom
from pipeline.core.errors import UserError
from pipeline.core.files import existing
from pipeline.evaluation.titles import Distortion, Nudge
from pipeline.training.recipe import Recipe

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
TimeOut = Annotated[float, Field(gt=0)]
Provider = Literal["CPUExecutionProvider", "OpenVINOExecutionProvider", "CUDAExecutionProvider"]


def _increasing(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(value >= following for value, following in pairwise(values)):
        raise ValueError("the values must increase")
    return values


def _package(path: str) -> str:
    if not all(map(str.isidentifier, path.split("/"))):
        raise ValueError(f"{path!r} is not the path of a package, such as pipeline/mnist")
    return path


class Section(BaseModel):
    """A section of params.yaml: immutable, without unknown keys or silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Fetch(Section):
    mirrors: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    timeout: TimeOut
    time_limit: TimeOut
    retries: Count
    backoff: Seconds
    files: dict[str, Sha256] = Field(min_length=1)


class Prepare(Section):
    training_images: Annotated[int, Field(ge=1)]
    test_images: Annotated[int, Field(ge=1)]
    calibration_images: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _images_remain_for_training(self) -> Self:
        if self.calibration_images >= self.training_images:
            raise ValueError(
                f"calibration_images is {self.calibration_images}, but must be less than "
                f"training_images, {self.training_images}"
            )
        return self


class Backprop(Section):
    inputs: tuple[Input, Input]
    targets: tuple[Target, Target]
    weights: WeightsOrRandom
    seed: Count
    learning_rate: LearningRate
    updates: Annotated[int, Field(ge=1, le=1000)]
    long_run: Annotated[int, Field(ge=1, le=10_000)]
    learning_rates: LearningRates

    @model_validator(mode="after")
    def _long_run_is_longer(self) -> Self:
        if self.long_run < self.updates:
            raise ValueError(
                f"long_run is {self.long_run}, but must be at least updates, {self.updates}"
            )
        return self

    def start(self) -> tuple[Pair, Pair, Weights]:
        """Inputs, targets and initial weights; `random` weights are drawn from the seed."""
        weights = random_weights(self.seed) if self.weights == "random" else self.weights
        return self.inputs, self.targets, weights


class Collect(Section):
    journal: Annotated[str, Field(min_length=1)] | None
    votes: Annotated[int, Field(ge=1)]
    cap_per_client: Annotated[int, Field(ge=1)]
    near: Annotated[int, Field(ge=0, le=64)]
    live_share: Annotated[float, Field(ge=0, lt=1)]
    weight: Annotated[int, Field(ge=1, le=100)]


class Detect(Section):
    seed: Annotated[int, Field(ge=0, le=2**31)]
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    negatives: Annotated[int, Field(ge=100)]
    printed: Count


class Calibrate(Section):
    coverage: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(min_length=1),
        AfterValidator(_increasing),
    ]
    refused: Annotated[float, Field(gt=0, lt=1)]


class Export(Section):
    opset: Annotated[int, Field(ge=18, le=25)]
    parity_images: Annotated[int, Field(ge=1)]


class Evaluate(Section):
    providers: Annotated[tuple[Provider, ...], Field(min_length=1)]
    batch_size: Annotated[int, Field(ge=1)]
    latency_calls: Annotated[int, Field(ge=10)]
    negatives: Annotated[int, Field(ge=10)]
    live_minimum: Annotated[int, Field(ge=1)]


class Gate(Section):
    min_accuracy: Fraction
    min_recall: Fraction
    max_calibration_error: Fraction
    min_distorted_accuracy: dict[Distortion, Fraction]
    max_changed_predictions: dict[Nudge, Fraction]
    min_coverage: dict[str, Fraction]
    max_refused: Fraction
    min_refused_negatives: dict[str, Fraction]
    test_images: Count
    test_sha256: Sha256
    min_live_accuracy: Fraction
    max_logit_difference: Annotated[float, Field(ge=0)]
    max_prediction_differences: Count
    max_provider_logit_difference: Annotated[float, Field(ge=0)]
    max_provider_prediction_differences: Count
    max_novelty_difference: Annotated[float, Field(ge=0)]
    max_provider_novelty_difference: Annotated[float, Field(ge=0)]
    max_provider_verdict_differences: Count
    parameters: Count
    max_model_bytes: Count


class Release(Section):
    margin: Annotated[float, Field(gt=0, lt=1)]
    live_margin: Annotated[float, Field(gt=0, lt=1)]
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    looks: Annotated[int, Field(ge=1, le=10_000)]


class Flow(Section):
    retries: dict[str, Annotated[int, Field(ge=0, le=20)]]
    retry_delay: Seconds
    timeouts: dict[str, TimeOut]
    timeout: TimeOut


class Loop(Section):
    approval: Literal["human", "rule"]
    labels: Annotated[int, Field(ge=1)]
    cooldown: Seconds
    service: Annotated[str, Field(pattern="^https?://")] | None
    compared: Annotated[int, Field(ge=1)]
    patience: TimeOut


class Params(Section):
    """The whole of params.yaml."""

    task: Annotated[str, AfterValidator(_package)]
    backprop: Backprop
    fetch: Fetch
    prepare: Prepare
    collect: Collect
    train: Recipe
    detect: Detect
    calibrate: Calibrate
    export: Export
    evaluate: Evaluate
    gate: Gate
    release: Release
    flow: Flow
    loop: Loop

    @model_validator(mode="after")
    def _the_gate_judges_stated_coverage(self) -> Self:
        stated = {f"{coverage:g}" for coverage in self.calibrate.coverage}
        if unknown := sorted({*self.gate.min_coverage} - stated):
            raise ValueError(
                f"gate.min_coverage has {unknown[0]}, which is not in calibrate.coverage"
            )
        return self

    @model_validator(mode="after")
    def _calibration_images_suffice(self) -> Self:
        rate = min(1 - self.calibrate.coverage[-1], self.calibrate.refused)
        least = math.ceil(round(1 / rate, 6)) - 1
        if self.prepare.calibration_images < least:
            raise ValueError(
                f"prepare.calibration_images is {self.prepare.calibration_images}, but "
                f"calibrate.coverage and calibrate.refused require at least {least}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and validate params.yaml. UserError names every invalid key, or says what is wrong."""
    return parse_params(existing(path).read_bytes(), path)


def parse_params(text: str | bytes, path: Path) -> Params:
    """Validate the text of params.yaml, or a proposed one; UserError as in `load_params`."""
    try:
        # pydantic's strict mode accepts a list as a tuple only from JSON; `str` converts dates
        content = json.dumps(YAML(typ="safe", pure=True).load(text), default=str)
    except (YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate_json(content)
    except ValidationError as invalid:
        raise UserError(f"{path}: " + "; ".join(_explain(invalid))) from invalid


def _explain(invalid: ValidationError) -> Iterator[str]:
    for error in invalid.errors():
        key = ".".join(map(str, error["loc"]))  # empty if the file is not a mapping
        yield f"{key}: ".removeprefix(": ") + error["msg"].removeprefix("Value error, ")
