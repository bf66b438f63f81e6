"""The reports that stages write for later stages, for the release and for MLflow: a class each.

A report names the version of its schema. One of another version, or with a key too many, a key
missing or a wrong type, is refused as a whole: it is never half understood. What belongs together
is read by `core.snapshot`.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core.errors import UserError
from pipeline.core.files import read_json, write_json

Sha256 = str
Number = int | float


def moment(text: str) -> str:
    """The text itself. ValueError unless it is a date and time, ISO 8601."""
    datetime.fromisoformat(text)
    return text


class Report(BaseModel):
    """A JSON file with exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    stage: ClassVar[str]  # that writes it

    @classmethod
    def read(cls, path: Path) -> Self:
        """The report in a file. UserError if it is missing, broken or of another schema."""
        content = read_json(path)
        remedy = f"`dvc repro --force --single-item {cls.stage}` writes it again"
        version = cls.model_fields.get("schema_version")
        found = content.get("schema_version") if isinstance(content, dict) else None
        if version is not None and found != version.default:
            found = (
                "no schema version" if found is None else f"schema version {json.dumps(found)[:40]}"
            )
            raise UserError(f"{path} has {found}, this code reads {version.default}: {remedy}")
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
    processor: str  #: its name
    cores: int  #: logical ones
    memory_gib: int  #: GiB
    system: str  #: the operating system and the architecture


class FlowRun(BaseModel):
    """A run of the Prefect flow."""

    model_config = Report.model_config
    id: str  #: its UUID
    url: str  #: where people see it


class BackpropReport(Report):
    """What the 2-2-2 network learned. DVC shows its numbers as metrics."""

    stage = "backprop"
    params: dict[str, Any]  #: the section `backprop` of params.yaml
    first_loss: float  #: before the first update
    last_loss: float  #: after the last of `updates`
    long_run_loss: float  #: after the last of `long_run`
    learning_rates_scanned: int  #: learning rates that were compared
    #: the highest of them with which the loss never rose; null if there is none
    highest_learning_rate_without_rise: float | None
    first_gradient: list[float]  #: of the loss by each weight, w1 to w8, before the first update
    #: the same by the formulas for w1 to w4 without the parentheses around their sum
    first_gradient_without_parentheses: list[float]


class TrainingReport(Report):
    """What was trained, from what, on what."""

    stage = "train"
    schema_version: Literal[1] = 1
    run_id: str  #: the identity of the training
    status: Literal["unfinished", "finished"]  #: whether its last epoch has ended
    started: Annotated[str, AfterValidator(moment)]  #: date and time, ISO 8601
    seconds: float  #: of training, interruptions excluded
    task: str  #: the package of the task
    git_revision: str  #: the commit, with `-dirty` where code or params differ; or `unknown`
    flow_run: FlowRun | None  #: the Prefect flow run that it was part of
    threads: int  #: of PyTorch
    hardware: Hardware  #: the machine
    requirements_sha256: Sha256 | None  #: of the lock of all packages
    params: dict[str, Any]  #: the section `train` of params.yaml
    data_sha256: Sha256  #: of the training set
    code_sha256: dict[str, Sha256]  #: of each module that decides the result, by path
    device: str  #: what it was trained on
    gpu: dict[str, str | bool] | None = None  #: its model, driver and libraries
    precision: str  #: the dtype of matrix products
    versions: dict[str, str]  #: of Python and of the libraries that the result depends on
    final: dict[str, float] | None  #: the last row of the history
    weights_sha256: Sha256 | None  #: of the weights of a finished training


class ExportReport(Report):
    """How far the exported model is from the trained network."""

    stage = "export"
    schema_version: Literal[1] = 1
    model_sha256: Sha256  #: of the exported file
    weights_sha256: Sha256  #: of the weights that were exported
    model_bytes: int  #: size of the exported file
    parameters: int  #: of the trained network
    opset: int  #: ONNX operator set
    parity_images: int  #: training images on which ONNX Runtime and PyTorch were compared
    max_logit_difference: float  #: the largest difference of a logit
    prediction_differences: int  #: images whose class differs


class Metrics(Report):
    """The exported model on the test set. DVC shows the numbers as metrics."""

    stage = "evaluate"
    images: int  #: in the test set
    accuracy: float  #: fraction of them that are classified correctly
    accuracy_low: float  #: lower end of its 95 % Clopper-Pearson interval
    accuracy_high: float  #: upper end
    misclassified: int  #: images
    loss: float  #: mean cross-entropy
    expected_calibration_error: float  #: mean gap between confidence and accuracy, 0 to 1
    macro_f1: float  #: mean of the F1 scores of the classes


class Speed(Report):
    """The exported model on this machine. DVC shows the numbers as metrics."""

    stage = "evaluate"
    latency_ms_p50: float  #: of a single image, median
    latency_ms_p99: float  #: of a single image, 99th percentile
    images_per_second: int  #: in batches of `evaluate.batch_size`


class Subject(Report):
    """What metrics and speed are of. Its schema version covers all that `evaluate` writes."""

    stage = "evaluate"
    schema_version: Literal[1] = 1
    model_sha256: Sha256  #: of the exported file
    test_sha256: Sha256  #: of the test set
    providers: list[str]  #: execution providers of ONNX Runtime that were in use


class Criterion(BaseModel):
    """One criterion of the gate."""

    model_config = Report.model_config
    name: str  #: what is measured
    measured: Number | str | None  #: its value; null if there is none
    relation: Literal["≥", "≤", "="]  #: of value to threshold
    threshold: Number | str | None  #: that of params.yaml
    passed: bool  #: whether the relation holds


class GateReport(Report):
    """The gate's verdict on one exported model."""

    stage = "gate"
    schema_version: Literal[1] = 1
    passed: bool  #: whether every criterion holds
    model_sha256: Sha256 | None  #: of the exported file; null if it could not be measured
    criteria: list[Criterion] = Field(min_length=1)  #: each criterion

    @model_validator(mode="after")
    def _verdict_follows_from_criteria(self) -> Self:
        if self.passed != all(criterion.passed for criterion in self.criteria):
            raise ValueError("`passed` does not follow from the criteria")
        if self.passed and self.model_sha256 is None:
            raise ValueError("a verdict that passed names no model")
        return self
