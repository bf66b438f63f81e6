"""The README tells the truth: its figures are the reports', its commands and files exist."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.files import read_json
from tests.workspace import PROJECT

README = (PROJECT / "README.md").read_text()


def results() -> str:
    """The rows of the results table, from the reports."""
    reports = PROJECT / "reports"
    metrics = read_json(reports / "evaluation/metrics.json")
    speed = read_json(reports / "evaluation/speed.json")
    training = read_json(reports / "train/summary.json")
    export = read_json(reports / "export.json")
    hardware = training["hardware"]
    rows = {
        "test accuracy, ONNX file in ONNX Runtime": f"**{metrics['accuracy']:.2%}**, 95 % interval "
        f"{metrics['accuracy_low']:.2%} to {metrics['accuracy_high']:.2%}",
        "misclassified": f"{metrics['mistakes']} of {metrics['images']:,}",
        "test loss (cross-entropy)": f"{metrics['loss']:.4f}",
        "expected calibration error": f"{metrics['expected_calibration_error']:.4f}",
        "training": f"{training['params']['epochs']} epochs in {training['seconds']:.0f} s on "
        f"{hardware['cores']} cores ({hardware['processor']}, {training['precision']})",
        "model file": f"{export['model_bytes']:,} bytes",
        "largest difference of logits to torch": f"{export['max_logit_difference']:.1g}",
        "one image": f"{speed['latency_ms_p50']:.2f} ms (p50), {speed['latency_ms_p99']:.2f} ms "
        "(p99)",
    }
    return "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def test_the_results_are_those_of_the_reports() -> None:
    assert results() in README


def test_the_reports_are_about_the_released_model() -> None:
    subject = read_json(PROJECT / "reports/evaluation/subject.json")
    checksums = (PROJECT / "models/SHA256SUMS").read_text()
    assert f"{subject['model_sha256']}  mnist-cnn.onnx\n" in checksums
    assert read_json(PROJECT / "reports/gate.json")["passed"] is True


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
