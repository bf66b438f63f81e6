"""The README tells the truth: its figures are the reports', its commands and files exist."""

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest
import yaml

from benchmarks.service.load import memory_growth, rates_of
from benchmarks.training.ablations import effects
from benchmarks.training.alternatives import CHOSEN
from pipeline.core.reports import (
    BackpropReport,
    ExportReport,
    GateReport,
    Metrics,
    Speed,
    Subject,
    TrainingReport,
)
from tests.checkout import MODEL, PROJECT, kept

README = (PROJECT / "README.md").read_text()


def report(path: str) -> Any:
    return json.loads(kept(f"reports/{path}"))


def backprop_report() -> BackpropReport:
    return BackpropReport.model_validate_json(kept("reports/backprop/summary.json"))


def results() -> str:
    """The rows of the results table, from the reports."""
    metrics = Metrics.model_validate_json(kept("reports/evaluation/metrics.json"))
    speed = Speed.model_validate_json(kept("reports/evaluation/speed.json"))
    export = ExportReport.model_validate_json(kept("reports/export.json"))
    training = TrainingReport.model_validate_json(kept("reports/train/summary.json"))
    hardware = training.hardware
    rows = {
        "test accuracy, ONNX file in ONNX Runtime": f"**{metrics.accuracy:.2%}**, 95 % interval "
        f"{metrics.accuracy_low:.2%} to {metrics.accuracy_high:.2%}",
        "misclassified": f"{metrics.misclassified} of {metrics.images:,}",
        "test loss (cross-entropy)": f"{metrics.loss:.4f}",
        "expected calibration error": f"{metrics.expected_calibration_error:.4f}",
        "training": f"{training.params['epochs']} epochs in {training.seconds:.0f} s on "
        f"{hardware.cores} cores ({hardware.processor}, {training.precision})",
        "model file": f"{export.model_bytes:,} bytes",
        "largest difference of logits to torch": f"{export.max_logit_difference:.1g}",
        "one image": f"{speed.latency_ms_p50:.2f} ms (p50), {speed.latency_ms_p99:.2f} ms (p99)",
    }
    return "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def correction() -> str:
    """The rows of the table of derivatives, from the report."""
    backprop = backprop_report()
    right, wrong = backprop.first_gradient, backprop.first_gradient_without_parentheses
    return "".join(
        f"| ∂E_total/∂w{n} | {with_them:.6f} | {without:.6f} |\n"
        for n, (with_them, without) in enumerate(zip(right[:4], wrong[:4], strict=True), start=1)
    )


def losses() -> str:
    """The sentence about the loss, from the report."""
    backprop = backprop_report()
    return (
        f"the loss falls from {backprop.first_loss:.6f} to {backprop.last_loss:.6f} in "
        f"{backprop.params['updates']} updates, and to {backprop.long_run_loss:g} in "
        f"{backprop.params['long_run']:,}"
    )


def stable_rates() -> str:
    """The sentence about learning rates, from the report."""
    backprop = backprop_report()
    largest = kept("reports/backprop/learning_rate_scan.csv").splitlines()[-1].split(",")
    rate, loss = map(float, largest[:2])
    return (
        f"Of {backprop.learning_rates_scanned} rates tried, none up to "
        f"η = {backprop.highest_learning_rate_without_rise:g} ever raised the loss. Larger ones "
        f"raise it at times; the largest, {rate:,g}, still leaves it at {loss:.2f} after "
        f"{backprop.params['updates']} updates"
    )


def seeds() -> str:
    """The sentence about what other seeds reach, from the benchmark's report."""
    found = report("benchmarks/accuracy.json")["accuracy"]

    def spread(way: str) -> str:
        plain = found[way]["undistorted"]
        return f"{min(plain):.2%} to {max(plain):.2%}, {mean(plain):.2%} on average"

    count = len(found["ours, release"]["undistorted"])
    return (
        f"with {count} seeds the recipe `release` reaches {spread('ours, release')}, the shorter "
        f"`fast` {spread('ours, fast')}"
    )


def distorted() -> str:
    """The rows of the table of distorted digits, from the benchmark's report."""
    found = report("benchmarks/accuracy.json")["accuracy"]
    rows = ""
    for distortion in found["original"]:
        means = (f"{mean(way[distortion]):.2%}" for way in found.values())
        rows += f"| {distortion} | {' | '.join(means)} |\n"
    return rows


def overhead() -> str:
    """The sentences about what DVC, MLflow and Prefect cost, from the benchmark's report."""
    measured = report("benchmarks/overhead.json")
    seconds = measured["up_to_date_seconds"]
    dvc, up, own = (f"{median(times):.1f} s" for times in seconds.values())
    work, cold = (
        median(run["total"] - run["epochs"] for run in measured["runs"][way])
        for way in ("stages", "MLflow")
    )
    return (
        f"A first `dvc repro` takes {cold - work:.0f} s more than the work of the stages in one "
        "process: eight process starts with their imports, MLflow and DVC. With every stage up to "
        f"date it takes {dvc}, a flow run {up} on a server that is up and {own} with one of its own"
    )


def step() -> str:
    """The sentences about a training step, from the benchmark's report."""
    measured = report("benchmarks/step.json")
    seconds = {variant: median(times) for variant, times in measured["seconds_an_epoch"].items()}
    base = seconds["unchanged"]
    float32, reuse, first, dropout = (
        f"{seconds[variant] / base:.2f} times"
        for variant in (
            "float32",
            "memory returned to the system",
            "channels first",
            "with the original's dropout",
        )
    )
    return (
        f"On two cores, in {measured['precision']}, an epoch takes {base:.1f} s, "
        f"{measured['times_the_floor']:.1f} times what its convolutions would at the rate at which "
        f"the same cores multiply large matrices. It would take {float32} as long in float32, "
        f"{reuse} if memory were given back to the system after each step, {first} with channels "
        f"first, {dropout} with the original's dropout"
    )


def inference() -> str:
    """The sentences about the speed of the exported file, from the benchmark's report."""
    measured = report("benchmarks/inference.json")
    found = measured["headline"]
    openvino = max(
        row["median"]
        for row in measured["idle"]["images_per_second"]
        if row["engine"] == "OpenVINO, default" and row["batch_size"] == 256
    )
    return (
        f"All test images: {found['images_per_second']:,} images/s, {found['speed_up']:.2f} times "
        f"those of a plain export in one call ({found['plain_images_per_second']:,}). Rounded to 8 "
        f"bits it would be {found['int8_speed_up']:.2f} times; OpenVINO, which computes in "
        f"bfloat16 where it can, answers {openvino:,} images/s in batches of 256. One image: "
        f"{found['latency_us_p50']:.0f} µs (p50), with OpenVINO at its best "
        f"{found['openvino_latency_us_p50']:.0f} µs."
    )


def scoring() -> str:
    """The sentences about many images, from the benchmark's report."""
    measured = report("benchmarks/scoring.json")

    def rate(way: str) -> Any:
        return median(measured["images"][way] / run["seconds"] for run in measured["runs"][way])

    ours, loop, pictures = measured["runs"]
    seconds = median(run["seconds"] for run in measured["runs"][ours])
    peak = max(run["peak_bytes"] for run in measured["runs"][ours])
    return (
        f"`score` takes {seconds:.0f} s for {measured['images'][ours]:,} images, "
        f"{rate(ours):,.0f} a second, {rate(ours) / rate(loop):.2f} times a plain loop of "
        f"`session.run`, with {peak / 1e6:.0f} MB of memory at most; {rate(pictures):,.0f} a "
        "second from PNG files"
    )


def serving() -> str:
    """The sentences about the service under load, from the benchmark's report."""
    measured = report("benchmarks/serving.json")

    at_64 = {way: loads["64"] for way, loads in measured["loads"].items()}
    rates = {way: f"{median(rates_of(runs)):,.0f}" for way, runs in at_64.items()}
    p50, p99 = (
        f"{1000 * median(run[key] for run in at_64['ours, bytes']):,.0f} ms"
        for key in ("p50", "p99")
    )
    soak = measured["soak"]
    return (
        f"64 connections get {rates['ours, bytes']} answers a second to images sent as bytes "
        f"(p50 {p50}, p99 {p99}), {rates['ours, JSON']} as JSON, {rates['ours, PNG']} as PNG "
        f"files; from `mlflow models serve` {rates['MLflow, JSON']}, as "
        f"JSON. In five minutes {soak['load']['failed']:.0f} of "
        f"{soak['load']['requests']:,.0f} requests failed, and memory grew by "
        f"{memory_growth(soak['resident_bytes']) / 1e6:.1f} MB"
    )


def growth() -> str:
    """The sentence about growth, from the benchmark's report."""
    slope = {
        name: line["slope"] for name, line in report("benchmarks/scaling.json")["lines"].items()
    }
    return (
        f"{1000 * slope['seconds_by_images']:.2f} s for every 1,000 images of an epoch (two cores "
        f"with bfloat16), {slope['train_bytes_by_images']:.0f} bytes of memory an image where "
        "784 are its pixels"
    )


def trainings() -> str:
    """The rows of the table of ways to train, from the benchmark's report."""
    ways = report("benchmarks/training.json")["methods"]
    rows = ""
    for name, way in ways.items():
        last, gate = way["epochs"][-1], way["seconds_to_gate"]
        rows += (
            f"| {name} | {last['parameters']:,} | {len(way['epochs'])} | {way['seconds']:,.0f} | "
            f"{ways['original']['seconds'] / way['seconds']:.1f} × | "
            f"{last['exported_accuracy']:.2%} | {f'{gate:,.0f}' if gate else 'not reached'} |\n"
        )
    return rows


@pytest.mark.parametrize(
    "told",
    [
        results,
        correction,
        losses,
        stable_rates,
        seeds,
        distorted,
        overhead,
        step,
        trainings,
        inference,
        scoring,
        serving,
        growth,
    ],
)
def test_its_figures_are_those_of_the_reports(told: Callable[[], str]) -> None:
    assert " ".join(told().split()) in " ".join(kept("README.md").split())


def test_the_effect_of_each_choice_of_the_recipe_is_told() -> None:
    runs = list(csv.DictReader(kept("reports/recipe/runs.csv").splitlines()))
    short, shorter, longer, medium, long = (effects(runs, epochs) for epochs in (6, 8, 10, 20, 30))
    assert f"it makes {short[CHOSEN].errors:.0f} errors" in README
    for name in short.keys() - {CHOSEN}:
        more, distorted = (
            round(mean(short[name].differences)),
            round(short[name].distorted_difference),
        )
        assert f"| {name} | {more:+d} | {distorted:+d} |" in README
    of = {name: f"{effect.errors:g}" for name, effect in long.items()}
    told = (
        f"after 30 epochs it makes {of[CHOSEN]}, with SGD {of['SGD']}, with label smoothing "
        f"{of['label smoothing 0.05']}, with weight decay 0.1 {of['weight decay 0.1']}"
    )
    assert told in " ".join(README.split())
    fewer = f"After 20 epochs it makes {medium[CHOSEN].errors:g}, so that `release` has 30"
    assert fewer in " ".join(README.split())
    assert yaml.safe_load(kept("params.fast.yaml")) == {"train": {"epochs": 9}}
    assert "`fast` has 9," in README
    assert "9 epochs instead of 30" in README
    around = f"with 8 it makes {shorter[CHOSEN].errors:.1f}, with 10 {longer[CHOSEN].errors:.1f}"
    assert around in " ".join(README.split())


def test_the_reports_are_about_the_released_model() -> None:
    digest = Subject.model_validate_json(kept("reports/evaluation/subject.json")).model_sha256
    verdict = GateReport.model_validate_json(kept("reports/gate.json"))
    assert verdict.passed
    assert verdict.model_sha256 == digest
    assert f"{digest}  {MODEL.name}\n" in kept("models/SHA256SUMS")


def test_the_dag_picture_is_dvcs_own() -> None:
    command = ["dvc", "dag", "--mermaid"]
    drawn = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert f"```mermaid\n{drawn.strip()}\n```" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)[`\s]", README))))
def test_every_make_target_it_names_exists(target: str) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_file_it_links_to_is_there(path: str) -> None:
    assert Path(PROJECT, path).exists()
