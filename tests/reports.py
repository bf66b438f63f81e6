"""Consistent reports, as the stages from train to gate write them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import Gate
from pipeline.core.collect_report import LiveQuality, LiveReport
from pipeline.core.files import write_csv, write_json, write_text
from pipeline.core.gate_input import GateInput
from pipeline.core.reports import (
    Behaviour,
    CalibrationReport,
    DetectorReport,
    ExportReport,
    Hardware,
    Metrics,
    PredictionSet,
    ProviderReport,
    Speed,
    Subject,
    TrainingReport,
)
from pipeline.core.snapshot import report_digests
from pipeline.core.workspace import Workspace
from pipeline.stages.gate import judge

R = TypeVar("R", ExportReport, Subject, Behaviour, LiveReport)

TRAINING = TrainingReport(
    run_id="0" * 32,
    status="finished",
    started="2026-01-02T03:04:05.000+00:00",
    seconds=2.0,
    task="pipeline/mnist",
    git_revision="unknown",
    flow_run=None,
    threads=1,
    hardware=Hardware(processor="a processor", cores=2, memory_gib=8, system="Linux"),
    requirements_sha256=None,
    params={
        "epochs": 2,
        "batch_size": 50,
        "validation_size": 0,
        "peak_learning_rate": 0.1,
        "rotation": 12.0,
        "shift": 0.08,
        "scale": 0.12,
    },
    data_sha256="d" * 64,
    code_sha256={"pipeline/training/trainer.py": "c" * 64},
    device="cpu",
    precision="float32",
    versions={"python": "3.11"},
    final=None,
    weights_sha256="e" * 64,
)
DETECTOR = DetectorReport(
    detector_sha256="b" * 64,
    data_sha256="d" * 64,
    parameters=100,
    device="cpu",
    images=1000,
    printed=10,
    negatives={"characters": 500},
    loss=0.1,
    accuracy=0.99,
)
CALIBRATION = CalibrationReport(
    weights_sha256="e" * 64,
    detector_sha256="b" * 64,
    calibration_sha256="9" * 64,
    images=3000,
    refused=0.005,
    novelty_threshold=2.0,
    sets=(PredictionSet(coverage=0.99, least_probability=0.5),),
)
EXPORT = ExportReport(
    model_sha256="f" * 64,
    weights_sha256="e" * 64,
    detector_sha256="b" * 64,
    model_bytes=200_000,
    parameters=19_210,
    opset=18,
    parity_images=100,
    max_logit_difference=0.001,
    max_novelty_difference=0.002,
    prediction_differences=2,
)
CPU_REPORT = ProviderReport(
    name="CPUExecutionProvider",
    accuracy=0.994,
    prediction_differences=0,
    verdict_differences=0,
    max_logit_difference=0.0,
    max_novelty_difference=0.0,
)
OPENVINO_REPORT = ProviderReport(
    name="OpenVINOExecutionProvider",
    accuracy=0.995,
    prediction_differences=10,
    verdict_differences=20,
    max_logit_difference=0.5,
    max_novelty_difference=0.25,
)
SUBJECT = Subject(
    model_sha256="f" * 64, test_sha256="a" * 64, providers=[CPU_REPORT, OPENVINO_REPORT]
)
METRICS = Metrics(
    images=10_000,
    accuracy=0.994,
    accuracy_low=0.99,
    accuracy_high=0.996,
    misclassified=60,
    loss=0.02,
    expected_calibration_error=0.001,
    macro_f1=0.993,
    lowest_recall=0.98,
)
BEHAVIOUR = Behaviour(
    model_sha256="f" * 64,
    distorted_accuracy={"shifted": 0.99, "noisy": 0.98},
    changed_predictions={"shift": 0.01},
    coverage={"0.99": 0.985},
    refused=0.006,
    refused_negatives={"noise": 0.97, "scribbles": 0.9},
)
LIVE = LiveReport(model_sha256="f" * 64, live_sha256=None, images=0, quality=None)
MEASURED_LIVE = LiveReport(
    model_sha256="f" * 64,
    live_sha256="7" * 64,
    images=500,
    quality=LiveQuality(accuracy=0.9, accuracy_low=0.87, accuracy_high=0.92, refused=0.01),
)
SPEED = Speed(latency_ms_p50=1.5, latency_ms_p99=2.5, images_per_second=1000)


def write_training(workspace: Workspace, *, epochs: int = 2, **changes: Any) -> None:
    """Write the reports of a training, with these changes of its summary."""
    history = [
        {"epoch": float(number), "training_loss": 1 / number, "seconds": 1.0}
        for number in range(1, epochs + 1)
    ]
    write_csv(workspace.history, history)
    write_csv(workspace.system_metrics, [{"system/load": 1.0} for _ in history])
    report = TRAINING.model_copy(update={"final": history[-1]} | changes)
    report.write(workspace.training_report)


def write_evaluation(
    workspace: Workspace, *, epochs: int = 2, labels: Sequence[str] = "0123456789", **digests: str
) -> None:
    """Write the reports of export, evaluate and gate on that training; the gate refuses.

    `digests`: weights_sha256, model_sha256 and test_sha256. The live test set is not measured.
    """
    DETECTOR.write(workspace.detector_report)
    CALIBRATION.write(workspace.calibration_report)
    changed(EXPORT, digests).write(workspace.export_report)
    changed(SUBJECT, digests).write(workspace.subject)
    METRICS.write(workspace.metrics)
    changed(BEHAVIOUR, digests).write(workspace.behaviour)
    changed(LIVE, digests).write(workspace.live_report)
    SPEED.write(workspace.speed)
    rows = range(1, epochs + 1)
    write_csv(
        workspace.curves,
        [{"epoch": n, "training_loss": 1 / n, "test_loss": 10 / n} for n in rows],
    )
    row = {"precision": 0.99, "recall": 0.98, "f1": 0.985, "images": 50}
    write_csv(workspace.per_class, [{"label": label} | row for label in labels])
    write_verdict(workspace, passed=False, **digests)


def gate_params(test_sha256: str) -> Gate:
    """Criteria that these reports pass, on this test set."""
    return Gate(
        min_accuracy=METRICS.accuracy,
        min_recall=METRICS.lowest_recall,
        max_calibration_error=METRICS.expected_calibration_error,
        min_distorted_accuracy={"shifted": 0.99, "noisy": 0.98},
        max_changed_predictions={"shift": 0.01},
        min_coverage=BEHAVIOUR.coverage,
        max_refused=BEHAVIOUR.refused,
        min_refused_negatives=BEHAVIOUR.refused_negatives,
        test_images=METRICS.images,
        test_sha256=test_sha256,
        min_live_accuracy=0.8,
        max_logit_difference=EXPORT.max_logit_difference,
        max_prediction_differences=EXPORT.prediction_differences,
        max_provider_logit_difference=OPENVINO_REPORT.max_logit_difference,
        max_provider_prediction_differences=OPENVINO_REPORT.prediction_differences,
        max_novelty_difference=EXPORT.max_novelty_difference,
        max_provider_novelty_difference=OPENVINO_REPORT.max_novelty_difference,
        max_provider_verdict_differences=OPENVINO_REPORT.verdict_differences,
        parameters=EXPORT.parameters,
        max_model_bytes=EXPORT.model_bytes,
    )


def write_verdict(workspace: Workspace, *, passed: bool, **digests: str) -> None:
    """Write the gate's verdict on these reports by `gate_params`, or by a stricter criterion."""
    export, subject = changed(EXPORT, digests), changed(SUBJECT, digests)
    behaviour = changed(BEHAVIOUR, digests)
    params = gate_params(subject.test_sha256)
    if not passed:
        params = params.model_copy(update={"min_accuracy": 1.0})
    live = LiveReport.read(workspace.live_report) if workspace.live_report.exists() else None
    reports = GateInput(export, subject, METRICS, behaviour, live, report_digests(workspace))
    judge(reports, params).write(workspace.gate_report)
    write_text(workspace.gate_table, "passed" if passed else "refused")


def changed(report: R, digests: dict[str, str]) -> R:
    """The report with the digests that it contains replaced."""
    known = {name: digest for name, digest in digests.items() if name in type(report).model_fields}
    return report.model_copy(update=known)


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a report file without validation; None removes a key."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    removed = {key for key, value in changes.items() if value is None}
    write_json(path, {key: value for key, value in content.items() if key not in removed})
