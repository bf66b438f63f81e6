"""The whole DAG under DVC, on the small digit set in a scratch folder."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.workspace import Workspace

STAGES = ["backprop", "fetch", "prepare", "train", "export", "evaluate", "gate", "release"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `dvc repro` has gone from data to release."""
    workspace = Workspace(tmp_path_factory.mktemp("dag") / "project")
    result = workspace.run("dvc", "repro")
    assert result.returncode == 0, result.stdout + result.stderr
    assert stages_run(result.stdout) == STAGES
    return workspace


@pytest.fixture
def workspace(released: Workspace) -> Iterator[Workspace]:
    """The same, brought back to what was released when a test has changed it."""
    params = (released.path / "params.yaml").read_text()
    yield released
    (released.path / "params.yaml").write_text(params)
    if released.run("dvc", "status", "--quiet").returncode != 0:
        released.run("dvc", "repro").check_returncode()


def stages_run(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def test_a_second_repro_runs_nothing(workspace: Workspace) -> None:
    result = workspace.run("dvc", "repro")
    assert result.returncode == 0
    assert stages_run(result.stdout) == []
    assert "up to date" in result.stdout


def test_the_released_model_is_the_measured_one(workspace: Workspace) -> None:
    workspace.run("sh", "-c", "cd models && sha256sum --check SHA256SUMS").check_returncode()
    subject = json.loads((workspace.path / "reports/evaluation/subject.json").read_text())
    assert subject["model_sha256"] == workspace.sha256("models/mnist-cnn.onnx")
    assert subject["test_sha256"] == workspace.sha256("data/test.safetensors")


def test_a_refused_gate_stops_the_dag_and_leaves_models_alone(workspace: Workspace) -> None:
    files = sorted((workspace.path / "models").iterdir())
    before = {path.name: path.read_bytes() for path in files}
    workspace.set_params({"gate": {"min_accuracy": 1.0, "max_model_bytes": 1000}})
    result = workspace.run("dvc", "repro")
    assert result.returncode != 0
    assert stages_run(result.stdout) == ["gate"]
    assert "the gate refuses the model: model bytes is 85,463, required ≤ 1,000" in result.stderr
    assert "**FAILED**" in (workspace.path / "reports/gate.md").read_text()
    after = {path.name: path.read_bytes() for path in sorted((workspace.path / "models").iterdir())}
    assert after == before


def test_a_train_parameter_reruns_neither_fetch_nor_prepare(workspace: Workspace) -> None:
    workspace.set_params({"train": {"epochs": 1}})
    result = workspace.run("dvc", "status")
    assert "train:" in result.stdout
    assert "fetch:" not in result.stdout
    assert "prepare:" not in result.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["dag"], ["fetch", "train", "gate", "release"]),
        (["metrics", "show"], ["accuracy", "reports/evaluation/metrics.json"]),
        (["params", "diff"], ["train.epochs"]),
        (["plots", "show"], ["index.html"]),
    ],
)
def test_dvc_shows_it(workspace: Workspace, command: list[str], expected: list[str]) -> None:
    if command[0] == "params":
        workspace.set_params({"train": {"epochs": 1}})
    result = workspace.run("dvc", *command)
    assert result.returncode == 0, result.stderr
    for text in expected:
        assert text in result.stdout


def test_missing_data_and_weights_come_back_from_the_cache(workspace: Workspace) -> None:
    for folder in ("data", "artifacts"):
        shutil.rmtree(workspace.path / folder)
    assert workspace.run("dvc", "checkout").returncode == 0
    result = workspace.run("dvc", "repro")
    assert result.returncode == 0
    assert stages_run(result.stdout) == []


def test_the_notebook_runs_on_it_from_top_to_bottom(workspace: Workspace) -> None:
    execute = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "executed"]
    result = workspace.run(*execute, "notebooks/walkthrough.ipynb")
    assert result.returncode == 0, result.stderr
    text = (workspace.path / "notebooks/executed.ipynb").read_text()
    cells = json.loads(text)["cells"]
    figures = [out for cell in cells for out in cell.get("outputs", []) if "image/png" in str(out)]
    assert len(figures) >= 4  # the fifth shows mistakes, if there are any
    assert "of 500 wrong" in text  # not the outputs that came with it


def test_it_names_a_bad_parameter_and_runs_nothing(workspace: Workspace) -> None:
    workspace.set_params({"gate": {"min_accuracy": 2.0}})
    result = workspace.run("dvc", "repro")
    assert result.returncode != 0
    assert "error: params.yaml: gate.min_accuracy: " in result.stderr
