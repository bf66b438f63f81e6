"""The whole DAG under DVC, on the small digit set."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.core.reports import Subject
from pipeline.orchestration import dag
from tests.checkout import Checkout
from tests.folders import content

STAGES = [
    *("backprop", "fetch", "prepare", "collect", "train", "detect", "calibrate", "export"),
    *("evaluate", "gate", "release"),
]


def stages_run(output: str) -> list[str]:
    """The stages that DVC reports as run."""
    return re.findall("^Running stage '(.+)':$", output, re.MULTILINE)


def changed_stages(workspace: Checkout) -> set[str]:
    """The stages that DVC reports as changed, not those that depend on them."""
    return set(re.findall(r"(?m)^(\w+):$", workspace.run("dvc", "status").stdout))


def test_repro_runs_each_stage_once_and_then_none(workspace: Checkout) -> None:
    assert sorted(stages_run((workspace.path / ".dvc/tmp/repro.log").read_text())) == sorted(STAGES)
    result = workspace.run("dvc", "repro")
    assert result.returncode == 0
    assert stages_run(result.stdout) == []
    assert "up to date" in result.stdout


def test_the_released_model_is_the_evaluated_one(finished: Checkout) -> None:
    finished.run("sh", "-c", "cd models && sha256sum --check SHA256SUMS").check_returncode()
    subject = Subject.read(finished.files.subject)
    assert subject.model_sha256 == finished.sha256("models/mnist-cnn.onnx")
    assert subject.test_sha256 == finished.sha256("data/test.safetensors")


def test_a_refused_gate_stops_the_dag_and_leaves_models_alone(workspace: Checkout) -> None:
    before = content(workspace.files.models)
    workspace.set_params({"gate": {"min_accuracy": 1.0, "max_model_bytes": 1000}})
    result = workspace.run("dvc", "repro")
    assert result.returncode != 0
    assert stages_run(result.stdout) == ["gate"]
    said = r"the gate refuses .*model bytes .*1\d\d,\d{3}, .*≤ 1,000"
    assert re.search(said, result.stderr)
    assert "**FAILED**" in workspace.files.gate_table.read_text()
    assert content(workspace.files.models) == before


def test_a_changed_package_version_reruns_the_dependent_stages(workspace: Checkout) -> None:
    """Otherwise the accuracy gate of a Dependabot pull request would measure the old model."""
    lock = workspace.files.requirements
    lock.write_text(re.sub(r"(?m)^torch==\S+", "torch==99.0", lock.read_text()))
    workspace.run(sys.executable, "-m", "pipeline.orchestration.lock").check_returncode()
    assert changed_stages(workspace) == {
        *("train", "detect", "calibrate", "export", "evaluate"),
    }


def test_a_changed_train_parameter_reruns_the_dependent_stages(workspace: Checkout) -> None:
    workspace.set_params({"train": {"epochs": 1}})
    # the detector takes its augmentation from them, and the release records them
    assert changed_stages(workspace) == {"train", "detect", "release"}
    assert "train.epochs" in workspace.run("dvc", "params", "diff").stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["metrics", "show"], ["accuracy", "reports/evaluation/metrics.json"]),
        (["plots", "show"], ["index.html"]),
    ],
)
def test_dvc_shows_metrics_and_plots(
    workspace: Checkout, command: list[str], expected: list[str]
) -> None:
    result = workspace.run("dvc", *command)
    assert result.returncode == 0, result.stderr
    for text in expected:
        assert text in result.stdout


def test_missing_data_and_weights_are_restored_from_the_cache(workspace: Checkout) -> None:
    for folder in ("data", "artifacts"):
        shutil.rmtree(workspace.path / folder)
    result = workspace.run("dvc", "repro", "--pull")
    assert result.returncode == 0
    assert stages_run(result.stdout) == []
    assert workspace.files.weights.exists()


def test_the_notebook_runs_from_top_to_bottom(workspace: Checkout) -> None:
    execute = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "executed"]
    result = workspace.run(*execute, "notebooks/walkthrough.ipynb")
    assert result.returncode == 0, result.stderr
    text = (workspace.path / "notebooks/executed.ipynb").read_text()
    cells = json.loads(text)["cells"]
    figures = [out for cell in cells for out in cell.get("outputs", []) if "image/png" in str(out)]
    assert len(figures) >= 4  # the fifth shows misclassified images, if any
    assert "of 500 images" in text  # the committed outputs are of 10,000 images


def test_a_bad_parameter_is_named_and_nothing_runs(workspace: Checkout) -> None:
    workspace.set_params({"gate": {"min_accuracy": 2.0}})
    result = workspace.run("dvc", "repro")
    assert result.returncode != 0
    assert "error: params.yaml: gate.min_accuracy: " in result.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
@pytest.mark.parametrize("targets", [[], ["gate", "backprop"]])
def test_a_flow_plans_the_stages_of_dvc_repro(targets: list[str], workspace: Checkout) -> None:
    shown = workspace.run("dvc", "repro", "--dry", "--force", *targets)
    assert shown.returncode == 0, shown.stderr
    plan = dag.plan(dag.read_dag(workspace.path), targets)
    names = [stage.name for stage in plan]
    assert sorted(names) == sorted(stages_run(shown.stdout))
    for place, stage in enumerate(plan):
        assert set(stage.needs) <= set(names[:place])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_flow_shows_the_human_readable_reports(workspace: Checkout) -> None:
    plan = {stage.name: stage for stage in dag.plan(dag.read_dag(workspace.path))}
    assert plan["gate"].texts == (Path("reports/gate.md"),)
    assert plan["evaluate"].metrics == (
        Path("reports/evaluation/metrics.json"),
        Path("reports/evaluation/behaviour.json"),
        Path("reports/evaluation/speed.json"),
    )
    assert Path("reports/evaluation/confusion.png") in plan["evaluate"].images
    for stage in plan.values():
        for path in (*stage.texts, *stage.metrics, *stage.images):
            assert (workspace.path / path).is_file()
