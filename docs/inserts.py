"""What can be inserted into the pages: numbers and tables of reports/, by name.

A name is SUBJECT or SUBJECT.PART; each subject is a function of the folder of reports.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks.service.rates import memory_growth, rates_of
from benchmarks.tables import table
from benchmarks.training.effects import CHOSEN, effects
from pipeline.core.errors import UserError
from pipeline.core.reports import BackpropReport, ExportReport, Metrics, Speed, TrainingReport

Values = dict[str, str]  # by the part of the name behind the subject; "" is the subject itself


def value_of(name: str, reports: Path, where: str) -> str:
    """The value of this name. UserError, which names the place, if there is none."""
    subject, _, part = name.partition(".")
    if subject not in SUBJECTS or part not in (values := _values(subject, reports)):
        known = sorted(SUBJECTS) if subject not in SUBJECTS else [p for p in values if p]
        raise UserError(f"{where}: {name} is unknown; there are {', '.join(known)}")
    return values[part]


def _values(subject: str, reports: Path) -> Values:
    try:
        return SUBJECTS[subject](reports)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; `git checkout reports`") from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{reports}: {subject} is not to be had: {error!r}") from error


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
        ["Test accuracy", f"**{values['accuracy']}** (95% interval: {values['interval']})"],
        ["Misclassified", f"{values['misclassified']} of {values['images']}"],
        ["Cross-entropy", values["loss"]],
        ["Expected calibration error", values["calibration"]],
        ["Training", f"{values['epochs']} epochs in {values['seconds']} s ({machine})"],
        ["Parameters, file size", f"{values['parameters']}, {values['bytes']} bytes"],
        ["Largest logit difference to PyTorch", values["difference"]],
        ["Latency for one image", f"{values['p50']} (p50), {values['p99']} (p99)"],
    ]
    return {"": table(["Released model", "ONNX file in ONNX Runtime"], rows)} | values


def gate(reports: Path) -> Values:
    """The gate's verdict on the released model, criterion by criterion."""
    lines = (reports / "gate.md").read_text(encoding="utf-8").splitlines()
    return {"": "\n".join(line for line in lines if line.startswith("|"))}


def recipe(reports: Path) -> Values:
    """What the two recipes reach with other seeds."""
    accuracy = _benchmark(reports, "accuracy")
    values = {}
    for name, method in {"release": "ours, release", "fast": "ours, fast"}.items():
        found = accuracy["accuracy"][method]["undistorted"]
        numbers = {
            "mean": mean(found),
            "lowest": min(found),
            "highest": max(found),
            "deviation": stdev(found),
        }
        values |= {f"{name}.{key}": f"{number:.2%}" for key, number in numbers.items()}
        values[f"{name}.deviation"] = f"{numbers['deviation']:.3%}"
        values[f"{name}.range"] = f"{min(found):.2%} to {max(found):.2%}"
        values[f"{name}.seeds"] = f"{len(found)}"
    return values


def backprop(reports: Path) -> Values:
    """The network of eight weights."""
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


def training(reports: Path) -> Values:
    """Recipes beside each other."""
    report = _benchmark(reports, "training")
    methods = report["methods"]
    rows = []
    for name, method in methods.items():
        last, reached = method["epochs"][-1], method["seconds_to_gate"]
        rows.append(
            [
                name,
                f"{last['parameters']:,}",
                len(method["epochs"]),
                f"{method['seconds']:,.0f}",
                f"{methods['original']['seconds'] / method['seconds']:.1f} ×",
                f"{last['exported_accuracy']:.2%}",
                f"{reached:,.0f}" if reached else "not reached",
            ]
        )
    headers = ["", "parameters", "epochs", "seconds", "speed, original = 1"]
    headers += ["test accuracy, last epoch", f"seconds to {report['gate']:.1%}"]
    return {"": table(headers, rows), "made": _made(report)}


def accuracy(reports: Path) -> Values:
    """The mean accuracy of each method on test images as they are and distorted."""
    report = _benchmark(reports, "accuracy")
    methods = report["accuracy"]
    rows = [
        [distortion, *(f"{mean(method[distortion]):.2%}" for method in methods.values())]
        for distortion in methods["original"]
    ]
    return {"": table(["test accuracy", *methods], rows), "made": _made(report)}


def step(reports: Path) -> Values:
    """Where the time of a training step goes."""
    report = _benchmark(reports, "step")
    seconds = {variant: median(times) for variant, times in report["seconds_an_epoch"].items()}
    ratios = {
        name: f"{seconds[variant] / seconds['unchanged']:.2f}"
        for name, variant in {
            "float32": "float32",
            "memory_returned": "memory returned to the system",
            "channels_first": "channels first",
            "dropout": "with the original's dropout",
        }.items()
    }
    return ratios | {
        "seconds": f"{seconds['unchanged']:.1f}",
        "precision": report["precision"],
        "floor": f"{report['times_the_floor']:.1f}",
        "made": _made(report),
    }


def inference(reports: Path) -> Values:
    """The speed of the exported file."""
    report = _benchmark(reports, "inference")
    found = report["headline"]
    openvino = max(
        row["median"]
        for row in report["idle"]["images_per_second"]
        if row["engine"] == "OpenVINO, default" and row["batch_size"] == 256
    )
    return {
        "rate": f"{found['images_per_second']:,}",
        "speed_up": f"{found['speed_up']:.2f}",
        "plain_rate": f"{found['plain_images_per_second']:,}",
        "int8_speed_up": f"{found['int8_speed_up']:.2f}",
        "openvino_rate": f"{openvino:,}",
        "p50": f"{found['latency_us_p50']:.0f} µs",
        "openvino_p50": f"{found['openvino_latency_us_p50']:.0f} µs",
        "made": _made(report),
    }


def scoring(reports: Path) -> Values:
    """Many images."""
    report = _benchmark(reports, "scoring")
    ours, loop, pictures = report["runs"]

    def rate(method: str) -> float:
        runs = report["runs"][method]
        return median(report["images"][method] / run["seconds"] for run in runs)

    return {
        "images": f"{report['images'][ours]:,}",
        "seconds": f"{median(run['seconds'] for run in report['runs'][ours]):.0f}",
        "rate": f"{rate(ours):,.0f}",
        "times_a_loop": f"{rate(ours) / rate(loop):.2f}",
        "memory": f"{max(run['peak_bytes'] for run in report['runs'][ours]) / 1e6:.0f} MB",
        "picture_rate": f"{rate(pictures):,.0f}",
        "made": _made(report),
    }


def serving(reports: Path) -> Values:
    """The HTTP service under load, on 64 connections."""
    report = _benchmark(reports, "serving")
    names = {"bytes": "ours, bytes", "json": "ours, JSON", "png": "ours, PNG"}
    loads = {
        name: report["loads"][request]["64"]
        for name, request in (names | {"mlflow": "MLflow, JSON"}).items()
    }
    rates = {f"{name}_rate": f"{median(rates_of(runs)):,.0f}" for name, runs in loads.items()}
    latency = {
        key: f"{1000 * median(run[key] for run in loads['bytes']):,.0f} ms"
        for key in ("p50", "p99")
    }
    soak = report["soak"]
    growth = memory_growth(soak["resident_bytes"]) / 1e6
    return {
        **rates,
        **latency,
        "soak_minutes": f"{soak['load']['seconds'] / 60:.0f}",
        "soak_failed": f"{soak['load']['failed']:.0f}",
        "soak_requests": f"{soak['load']['requests']:,.0f}",
        "soak_growth": f"{abs(growth) if abs(growth) < 0.05 else growth:.1f} MB",
        "made": _made(report),
    }


def scaling(reports: Path) -> Values:
    """Time and memory against the number of images."""
    report = _benchmark(reports, "scaling")
    slope = {name: line["slope"] for name, line in report["lines"].items()}
    return {
        "seconds": f"{1000 * slope['seconds_by_images']:.2f} s",
        "bytes": f"{slope['train_bytes_by_images']:.0f}",
        "made": _made(report),
    }


def overhead(reports: Path) -> Values:
    """What DVC, MLflow and Prefect cost."""
    report = _benchmark(reports, "overhead")
    repro, flow, own = (f"{median(times):.1f} s" for times in report["up_to_date_seconds"].values())
    work, cold = (
        median(run["total"] - run["epochs"] for run in report["runs"][method])
        for method in ("stages", "MLflow")
    )
    return {
        "first_run": f"{cold - work:.0f} s",
        "repro": repro,
        "flow": flow,
        "flow_own_server": own,
        "made": _made(report),
    }


SUBJECTS: dict[str, Callable[[Path], Values]] = {
    function.__name__: function
    for function in (
        *(results, gate, recipe, backprop, ablations, training, accuracy),
        *(step, inference, scoring, serving, scaling, overhead),
    )
}


def _benchmark(reports: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((reports / f"benchmarks/{name}.json").read_bytes())
    return report


def _made(report: dict[str, Any]) -> str:
    """When a benchmark was run, on what and with what."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"Measured on {report['date']}: {hardware['cores']} cores ({hardware['processor']}), "
        f"{hardware['memory_gib']} GiB; {versions}."
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
