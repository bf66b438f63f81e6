"""The reports that stages write for later stages, the release and MLflow: one class per report.

`core.snapshot` reads reports that belong together.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from pipeline.core.report_file import Report

JUDGED_PROVIDERS = "providers.json"  # next to a released model
Sha256 = str
Number = int | float


def moment(text: str) -> str:
    """The text itself. ValueError if it is not an ISO 8601 date and time."""
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(moment)]


class Hardware(BaseModel):
    """The machine that produced a result."""

    model_config = Report.model_config
    processor: str  #: name of the processor
    cores: int  #: logical cores
    memory_gib: int  #: main memory in GiB
    system: str  #: operating system and architecture


class FlowRun(BaseModel):
    """A run of the Prefect flow."""

    model_config = Report.model_config
    id: str  #: UUID of the run
    url: str  #: page of the run in Prefect


class BackpropReport(Report):
    """The results of the 2-2-2 network. DVC shows the numbers as metrics."""

    params: dict[str, Any]  #: section `backprop` of params.yaml
    first_loss: float  #: loss before the first update
    last_loss: float  #: loss after `updates` updates
    long_run_loss: float  #: loss after `long_run` updates
    learning_rates_scanned: int  #: number of learning rates compared
    #: highest of these learning rates at which the loss never rose; null if there is none
    highest_learning_rate_without_rise: float | None
    first_gradient: list[float]  #: gradient of the loss for w1 to w8 before the first update
    #: the same gradient, from formulas for w1 to w4 that lack the parentheses around the sum
    first_gradient_without_parentheses: list[float]


class TrainingReport(Report):
    """The identity, inputs, environment and result of a training run."""

    schema_version: Literal[1] = 1
    run_id: str  #: identity of the training run
    status: Literal["unfinished", "finished"]  #: `finished` after the last epoch
    started: Moment  #: start as an ISO 8601 date and time
    seconds: float  #: training time in seconds, without interruptions
    task: str  #: package of the task
    git_revision: str  #: commit, with `-dirty` if code or params differ from it; or `unknown`
    flow_run: FlowRun | None  #: Prefect flow run that started the training; null if none
    threads: int  #: number of PyTorch threads
    hardware: Hardware  #: machine that trained the network
    requirements_sha256: Sha256 | None  #: SHA-256 of the lock file `requirements.txt`
    params: dict[str, Any]  #: section `train` of params.yaml
    data_sha256: Sha256  #: SHA-256 of the training set
    #: SHA-256 of the images that were collected from use; null if the stage `collect` did not run
    feedback_sha256: Sha256 | None = None
    code_sha256: dict[str, Sha256]  #: SHA-256 of each module that affects the result, by path
    device: str  #: device that trained the network
    #: model, driver and libraries of the GPU; null on a CPU
    gpu: dict[str, str | bool] | None = None
    precision: str  #: dtype of matrix products
    versions: dict[str, str]  #: versions of Python and of the libraries that affect the result
    final: dict[str, float] | None  #: last row of the history
    weights_sha256: Sha256 | None  #: SHA-256 of the weights; null until training has finished


class DetectorReport(Report):
    """The training of the detector, which tells what shows none of the classes."""

    schema_version: Literal[1] = 1
    detector_sha256: Sha256  #: SHA-256 of the detector's weights
    data_sha256: Sha256  #: SHA-256 of the training set
    parameters: int  #: number of parameters of the detector
    device: str  #: device that trained the detector
    images: int  #: number of training images
    printed: int  #: number of printed labels that count as images of a class
    negatives: dict[str, int]  #: number of generated images that show no class, by kind
    loss: float  #: mean cross-entropy in the last epoch
    accuracy: float  #: fraction of images told apart correctly in the last epoch


class PredictionSet(BaseModel):
    """A rule for prediction sets: the labels that are at least so probable, and the likeliest."""

    model_config = Report.model_config
    #: stated fraction of images whose true label is in the set
    coverage: Annotated[float, Field(gt=0, lt=1)]
    least_probability: Annotated[float, Field(ge=0, le=1)]  #: lowest probability in the set


class CalibrationReport(Report):
    """What the calibration set says about novelty and probabilities of known images."""

    schema_version: Literal[1] = 1
    weights_sha256: Sha256  #: SHA-256 of the classifier's weights
    detector_sha256: Sha256  #: SHA-256 of the detector's weights
    calibration_sha256: Sha256  #: SHA-256 of the calibration set
    images: int  #: number of calibration images
    refused: float  #: stated fraction of images of a class whose novelty exceeds the threshold
    novelty_threshold: float  #: highest novelty of an image that shows a class
    sets: tuple[PredictionSet, ...]  #: rules of the prediction sets, by increasing coverage


class ExportReport(Report):
    """How closely the exported model matches the trained networks."""

    schema_version: Literal[2] = 2
    model_sha256: Sha256  #: SHA-256 of the exported file
    weights_sha256: Sha256  #: SHA-256 of the exported weights of the classifier
    detector_sha256: Sha256  #: SHA-256 of the exported weights of the detector
    model_bytes: int  #: size of the exported file in bytes
    parameters: int  #: number of parameters of the classifier
    opset: int  #: version of the ONNX operator set
    parity_images: int  #: number of training images on which ONNX Runtime and PyTorch were compared
    max_logit_difference: float  #: largest absolute difference between logits
    max_novelty_difference: float  #: largest absolute difference between values of novelty
    prediction_differences: int  #: number of images whose class differs


class Metrics(Report):
    """The quality of the exported model on the test set. DVC shows the numbers as metrics."""

    images: int  #: number of images in the test set
    accuracy: float  #: fraction of these images that are classified correctly
    accuracy_low: float  #: lower bound of the 95 % Clopper-Pearson interval of the accuracy
    accuracy_high: float  #: upper bound of that interval
    misclassified: int  #: number of misclassified images
    loss: float  #: mean cross-entropy
    expected_calibration_error: float  #: mean gap between confidence and accuracy, 0 to 1
    macro_f1: float  #: mean of the F1 scores of the classes
    lowest_recall: float  #: lowest recall of a class that has test images


class Behaviour(Report):
    """The exported model on changed test images, and on images that show no class.

    DVC shows the numbers as metrics.
    """

    model_sha256: Sha256  #: SHA-256 of the exported file
    #: fraction of the distorted images that are classified correctly, by distortion
    distorted_accuracy: dict[str, float]
    #: fraction of every second image whose predicted class a small change alters, by change
    changed_predictions: dict[str, float]
    #: fraction of the test images whose true label is in the prediction set, by stated coverage
    coverage: dict[str, float]
    refused: float  #: fraction of the test images that count as showing no class
    #: fraction of generated images without a class that count as showing none, by kind
    refused_negatives: dict[str, float]


class Speed(Report):
    """The speed of the exported model on this machine. DVC shows the numbers as metrics."""

    latency_ms_p50: float  #: median latency of a single image in milliseconds
    latency_ms_p99: float  #: 99th percentile of that latency
    images_per_second: int  #: throughput in batches of `evaluate.batch_size`


class ProviderReport(BaseModel):
    """The answers of an execution provider of ONNX Runtime on the test set."""

    model_config = Report.model_config
    name: str  #: name of the provider
    accuracy: float  #: fraction of the images that are classified correctly
    prediction_differences: int  #: number of images whose class differs from the first provider's
    max_logit_difference: float  #: largest absolute difference of logits from the first provider's
    verdict_differences: int  #: number of images whose verdict differs from the first provider's
    max_novelty_difference: float  #: largest absolute difference of novelty from the first one's


class Subject(Report):
    """What `evaluate` measured. The schema version covers all files that `evaluate` writes."""

    schema_version: Literal[3] = 3
    model_sha256: Sha256  #: SHA-256 of the exported file
    test_sha256: Sha256  #: SHA-256 of the test set
    #: the providers that work on this machine; the first one computed the metrics
    providers: Annotated[list[ProviderReport], Field(min_length=1)]


class JudgedProviders(Report):
    """The execution providers that the gate judged for a released model, next to its ONNX file."""

    schema_version: Literal[2] = 2
    model_sha256: Sha256  #: SHA-256 of the ONNX file
    providers: list[str]  #: names of the providers; the first one computed the metrics
    max_logit_difference: float  #: largest tolerated difference of a logit from the first one's
    max_novelty_difference: float  #: largest tolerated difference of novelty from the first one's
    images: str  #: images to compare answers on: uint8 [N, H, W], zlib, Base64


class Criterion(BaseModel):
    """One criterion of the gate."""

    model_config = Report.model_config
    name: str  #: measured quantity
    measured: Number | str | None  #: measured value; null if there is none
    relation: Literal["≥", "≤", "="]  #: required relation of the measured value to the threshold
    threshold: Number | str | None  #: threshold in params.yaml
    passed: bool  #: whether the relation holds


class GateReport(Report):
    """The gate's verdict on one exported model."""

    schema_version: Literal[2] = 2
    passed: bool  #: whether every criterion holds
    model_sha256: Sha256 | None  #: SHA-256 of the exported file; null if it could not be measured
    #: SHA-256 of each report on the model when the gate ran, by path
    reports_sha256: dict[str, Sha256]
    criteria: list[Criterion] = Field(min_length=1)  #: all criteria

    @model_validator(mode="after")
    def _verdict_follows_from_criteria(self) -> Self:
        if self.passed != all(criterion.passed for criterion in self.criteria):
            raise ValueError("`passed` does not follow from the criteria")
        if self.passed and self.model_sha256 is None:
            raise ValueError("a passing verdict must name a model")
        return self
