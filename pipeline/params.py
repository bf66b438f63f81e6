"""params.yaml as validated, frozen objects, a section per stage.

The classes say what type and range a value has; params.yaml says what it means.
"""

import json
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UserError
from pipeline.mnist.recipe import Recipe

PARAMS = Path("params.yaml")

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of params.yaml: no unknown key, no silent conversion, no change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Fetch(Section):
    mirrors: list[str] = Field(min_length=1)
    timeout: Seconds
    retries: Count
    backoff: Seconds
    files: dict[str, Sha256]


class Prepare(Section):
    training_images: Annotated[int, Field(ge=1)]
    test_images: Annotated[int, Field(ge=1)]


class Export(Section):
    opset: Annotated[int, Field(ge=18, le=25)]
    parity_images: Annotated[int, Field(ge=1)]


class Evaluate(Section):
    provider: Annotated[str, Field(pattern="^[A-Za-z]+ExecutionProvider$")]
    batch_size: Annotated[int, Field(ge=1)]
    latency_calls: Annotated[int, Field(ge=10)]


class Gate(Section):
    min_accuracy: Fraction
    test_images: Count
    test_sha256: Sha256
    max_logit_difference: Annotated[float, Field(ge=0)]
    max_prediction_differences: Count
    parameters: Count
    max_model_bytes: Count


class Release(Section):
    allow_regression: bool
    significance: Fraction


class Params(Section):
    """The whole of params.yaml."""

    fetch: Fetch
    prepare: Prepare
    train: Recipe
    export: Export
    evaluate: Evaluate
    gate: Gate
    release: Release


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. UserError names every bad key, or what else is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing in {Path.cwd().name}/; run from the folder that holds it"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        # by way of JSON, in which a strict list may become a tuple
        return Params.model_validate_json(json.dumps(content))
    except ValidationError as invalid:
        raise UserError(f"{path}: " + "; ".join(_explain(invalid))) from invalid


def _explain(invalid: ValidationError) -> list[str]:
    return [
        ".".join(map(str, error["loc"])) + ": " + error["msg"].removeprefix("Value error, ")
        for error in invalid.errors()
    ]
