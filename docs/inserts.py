"""Numbers and tables of reports/ that pages can insert, by name.

A name is SUBJECT or SUBJECT.PART. Each subject is a function of the folder of reports.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from benchmarks.tables import table
from benchmarks.training.effects import CHOSEN, effects
from docs import measurements, training_measurements
from docs.measured import Values, read
from pipeline.core.errors import UserError
from pipeline.core.reports import BackpropReport, ExportReport, Metrics, Speed, TrainingReport


def value_of(name: str, reports: Path, where: str) -> str:
    """The value of a name. UserError, with `where`, if the name is unknown."""
    subject, _, part = name.partition(".")
    if subject not in SUBJECTS or part not in (values := _values(subject, reports)):
        known = sorted(SUBJECTS) if subject not in SUBJECTS else [p for p in values if p]
        raise UserError(f"{where}: {name} is unknown; use one of {', '.join(known)}")
    return values[part]


def _values(subject: str, reports: Path) -> Values:
    try:
        return SUBJECTS[subject](reports)
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}: run `git checkout reports`"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{reports}: cannot read the numbers of {subject}: {error!r}") from error


def results(reports: Path) -> Values:
    """The released model."""
    metrics = Metrics.read(reports / "evaluation/metrics.json")
    speed = Speed.read(reports / "evaluation/speed.json")
    export = ExportReport.read(reports / "export.json")
    training = TrainingReport.read(reports / "train/summary.json")
    hardware = training.hardware
    machine = f"{hardware.cores} cores, {hardware.processor}, {training.precision}"
    values = {
        "accuracy": f"{metrics.accuracy:.2%}",
        "interval": f"{metrics.accuracy_low:.2%} to {metrics.accuracy_high:.2%}",
        "misclassified": f"{metrics.misclassified}",
        "images": f"{metrics.images:,}",
        "loss": f"{metrics.loss:.4f}",
        "calibration": f"{metrics.expected_calibration_error:.4f}",
        "epochs": f"{training.params['epochs']}",
        "seconds": f"{training.seconds:.0f}",
        "machine": machine,
        "parameters": f"{export.parameters:,}",
        "bytes": f"{export.model_bytes:,}",
        "difference": f"{export.max_logit_difference:.1g}",
        "p50": f"{speed.latency_ms_p50:.2f} ms",
        "p99": f"{speed.latency_ms_p99:.2f} ms",
        "rate": f"{speed.images_per_second:,}",
    }
    rows = [
        [
            "Test accuracy, in ONNX Runtime",
            f"**{values['accuracy']}** (95% interval: {values['interval']})",
        ],
        ["Misclassified", f"{values['misclassified']} of {values['images']}"],
        ["Cross-entropy", values["loss"]],
        ["Expected calibration error", values["calibration"]],
        ["Training", f"{values['epochs']} epochs in {values['seconds']} s ({machine})"],
        ["Parameters, file size", f"{values['parameters']}, {values['bytes']} bytes"],
        ["Largest logit difference to PyTorch", values["difference"]],
        ["Latency for one image", f"{values['p50']} (p50), {values['p99']} (p99)"],
    ]
    return {"": table(["Released model", ""], rows)} | values


def gate(reports: Path) -> Values:
    """The gate's verdict on the released model, criterion by criterion."""
    lines = (reports / "gate.md").read_text(encoding="utf-8").splitlines()
    return {"": "\n".join(line for line in lines if line.startswith("|"))}


def recipe(reports: Path) -> Values:
    """The accuracy of our recipes over seeds."""
    accuracy = read(reports, "accuracy")
    values = {}
    for name in ("release", "fast", "shortest"):
        found = accuracy["accuracy"][f"ours, {name}"]["undistorted"]
        values[f"{name}.mean"] = f"{mean(found):.2%}"
        values[f"{name}.deviation"] = f"{stdev(found):.3%}"
        values[f"{name}.range"] = f"{min(found):.2%} to {max(found):.2%}"
        values[f"{name}.seeds"] = f"{len(found)}"
    return values


def backprop(reports: Path) -> Values:
    """The network with eight weights."""
    report = BackpropReport.read(reports / "backprop/summary.json")
    scan = _rows(reports / "backprop/learning_rate_scan.csv")
    rate, loss = list(scan[-1].values())[:2]
    right, wrong = report.first_gradient, report.first_gradient_without_parentheses
    derivatives = [
        [f"∂E_total/∂w{number}", f"{with_them:.6f}", f"{without:.6f}"]
        for number, (with_them, without) in enumerate(zip(right, wrong, strict=False), start=1)
    ]
    return {
        "learning_rate": f"{report.params['learning_rate']:g}",
        "first_loss": f"{report.first_loss:.6f}",
        "last_loss": f"{report.last_loss:.6f}",
        "updates": f"{report.params['updates']}",
        "rows": f"{report.params['updates'] + 1}",
        "long_run_loss": f"{report.long_run_loss:g}",
        "long_run": f"{report.params['long_run']:,}",
        "rates": f"{report.learning_rates_scanned}",
        "stable_rate": f"{report.highest_learning_rate_without_rise:g}",
        "largest_rate": f"{float(rate):,g}",
        "largest_rate_loss": f"{float(loss):.2f}",
        "derivatives": table(["", "correct", "without parentheses"], derivatives),
    }


def ablations(reports: Path) -> Values:
    """The recipe with one choice changed, on held-out training images."""
    rows = _rows(reports / "recipe/runs.csv")
    values = {}
    for epochs in sorted({int(row["epochs"]) for row in rows}):
        for name, effect in effects(rows, epochs).items():
            part = f"{epochs}.{name.replace(',', '').replace(' ', '-')}"
            values[f"{part}.errors"] = f"{effect.errors:.3g}"
            if name != CHOSEN and effect.differences:
                values[f"{part}.difference"] = f"{round(mean(effect.differences)):+d}"
                values[f"{part}.distorted"] = f"{round(effect.distorted_difference):+d}"
    return values


OWN = (results, gate, recipe, backprop, ablations)
SUBJECTS: dict[str, Callable[[Path], Values]] = {
    function.__name__: function
    for function in (*OWN, *measurements.ALL, *training_measurements.ALL)
}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
