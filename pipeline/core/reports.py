"""The reports that stages write for later stages, for the release and for MLflow: a class each.

A report names the version of its schema. One of another version, or with a key too many, a key
missing or a wrong type, is refused as a whole: it is never half understood. What belongs together
is read by `core.snapshot`.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core.errors import UserError
from pipeline.core.files import read_json, write_json

Sha256 = str
Number = int | float


def moment(text: str) -> str:
    """The text itself. ValueError unless it is a date and time, ISO 8601."""
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(moment)]  # date and time, ISO 8601


class OtherVersionError(UserError):
    """A report is of another version of its schema."""


class Report(BaseModel):
    """A JSON file with exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The report in a file. UserError if it is missing, broken or of another schema."""
        content = read_json(path)
        remedy = "`dvc repro` writes it again"
        version = cls.model_fields.get("schema_version")
        if version is not None and isinstance(content, dict):
            found = content.get("schema_version")
            if found != version.default:
                known = f"schema version {json.dumps(found)[:40]}" if found is not None else None
                raise OtherVersionError(
                    f"{path} has {known or 'no schema version'}, this code reads "
                    f"{version.default}: {remedy}"
                )
        try:
            return cls.model_validate_json(json.dumps(content))  # as JSON: a list may be a tuple
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = [str(path), ".".join(map(str, first["loc"])), first["msg"]]
            raise UserError(f"{': '.join(filter(None, where))}; {remedy}") from error

    def write(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))


class Hardware(BaseModel):
    """The machine."""

    model_config = Report.model_config
    processor: str
    cores: int
    memory_gib: int
    system: str


class FlowRun(BaseModel):
    """A run of the Prefect flow."""

    model_config = Report.model_config
    id: str
    url: str


class BackpropReport(Report):
    """What the 2-2-2 network learned. DVC shows its numbers as metrics."""

    params: dict[str, Any]
    first_loss: float
    last_loss: float
    long_run_loss: float
    learning_rates_scanned: int
    highest_learning_rate_without_rise: float | None
    first_gradient: list[float]
    first_gradient_without_parentheses: list[float]


class TrainingReport(Report):
    """What was trained, from what, on what."""

    schema_version: Literal[1] = 1
    run_id: str
    status: Literal["unfinished", "finished"]
    started: Moment
    seconds: float
    task: str  # the package that knows it
    git_revision: str
    flow_run: FlowRun | None
    threads: int
    hardware: Hardware
    requirements_sha256: Sha256 | None
    params: dict[str, Any]
    data_sha256: Sha256
    code_sha256: dict[str, Sha256]  # by path
    device: str
    gpu: dict[str, str | bool] | None = None
    precision: str
    versions: dict[str, str]
    final: dict[str, float] | None  # the last row of the history
    weights_sha256: Sha256 | None  # of a finished training


class ExportReport(Report):
    """How far the exported model is from the trained network."""

    schema_version: Literal[1] = 1
    model_sha256: Sha256
    weights_sha256: Sha256
    model_bytes: int
    parameters: int
    opset: int
    parity_images: int
    max_logit_difference: float
    prediction_differences: int


class Metrics(Report):
    """The exported model on the test set. DVC shows the numbers as metrics."""

    images: int
    accuracy: float
    accuracy_low: float  # ends of the 95 % Clopper-Pearson interval
    accuracy_high: float
    misclassified: int
    loss: float  # mean cross-entropy
    expected_calibration_error: float
    macro_f1: float


class Speed(Report):
    """The exported model on this machine. DVC shows the numbers as metrics."""

    latency_ms_p50: float
    latency_ms_p99: float
    images_per_second: int


class Subject(Report):
    """What metrics and speed are of. Its schema version covers all that `evaluate` writes."""

    schema_version: Literal[1] = 1
    model_sha256: Sha256
    test_sha256: Sha256
    providers: list[str]


class Criterion(BaseModel):
    """One criterion of the gate."""

    model_config = Report.model_config
    name: str
    measured: Number | str | None
    relation: Literal["≥", "≤", "="]
    threshold: Number | str | None
    passed: bool


class GateReport(Report):
    """The gate's verdict on one exported model."""

    schema_version: Literal[2] = 2
    passed: bool
    model_sha256: Sha256 | None
    reports_sha256: dict[str, Sha256]  # by path: those on the model as they were when it was judged
    criteria: list[Criterion] = Field(min_length=1)

    @model_validator(mode="after")
    def _verdict_follows_from_criteria(self) -> Self:
        if self.passed != all(criterion.passed for criterion in self.criteria):
            raise ValueError("`passed` does not follow from the criteria")
        if self.passed and self.model_sha256 is None:
            raise ValueError("a verdict that passed names no model")
        return self
