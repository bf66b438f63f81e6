"""The whole DAG under DVC, on the small digit set in a scratch folder; what a flow sees of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.orchestration import dag
from tests.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
DVC = [sys.executable, "-m", "dvc"]
STAGES = ["backprop", "fetch", "prepare", "train", "export", "evaluate", "gate", "release"]


@pytest.fixture(scope="module")
def released(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `dvc repro` has gone from data to release; no test changes it."""
    workspace = finished.copy(tmp_path_factory.mktemp("dag") / "project")
    workspace.environment["MLFLOW_TRACKING_URI"] = "none"
    return workspace


@pytest.fixture
def workspace(released: Workspace, tmp_path: Path) -> Workspace:
    """The same, for a test to change."""
    return released.copy(tmp_path / "project")


def stages_run(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def test_repro_goes_from_data_to_release(released: Workspace) -> None:
    assert stages_run((released.path / ".dvc/tmp/repro.log").read_text()) == STAGES


def test_a_second_repro_runs_nothing(released: Workspace) -> None:
    result = released.run("dvc", "repro")
    assert result.returncode == 0
    assert stages_run(result.stdout) == []
    assert "up to date" in result.stdout


def test_the_released_model_is_the_measured_one(released: Workspace) -> None:
    released.run("sh", "-c", "cd models && sha256sum --check SHA256SUMS").check_returncode()
    subject = json.loads((released.path / "reports/evaluation/subject.json").read_text())
    assert subject["model_sha256"] == released.sha256("models/mnist-cnn.onnx")
    assert subject["test_sha256"] == released.sha256("data/test.safetensors")


def test_a_refused_gate_stops_the_dag_and_leaves_models_alone(workspace: Workspace) -> None:
    files = sorted((workspace.path / "models").iterdir())
    before = {path.name: path.read_bytes() for path in files}
    workspace.set_params({"gate": {"min_accuracy": 1.0, "max_model_bytes": 1000}})
    result = workspace.run("dvc", "repro")
    assert result.returncode != 0
    assert stages_run(result.stdout) == ["gate"]
    said = r"the gate refuses the model: model bytes is 8\d,\d{3}, required ≤ 1,000"
    assert re.search(said, result.stderr)
    assert "**FAILED**" in (workspace.path / "reports/gate.md").read_text()
    after = {path.name: path.read_bytes() for path in sorted((workspace.path / "models").iterdir())}
    assert after == before


def test_another_version_of_a_package_reruns_what_depends_on_it(workspace: Workspace) -> None:
    """In a pull request of Dependabot, whose accuracy gate would else measure the old model."""
    lock = workspace.path / "requirements.txt"
    lock.write_text(re.sub(r"(?m)^torch==\S+", "torch==99.0", lock.read_text()))
    workspace.run(sys.executable, "-m", "pipeline.orchestration.lock").check_returncode()
    status = workspace.run("dvc", "status").stdout
    changed = set(re.findall(r"(?m)^(\w+):$", status))
    assert changed == {"train", "export", "evaluate"}
    assert "versions.json" in status


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


@pytest.mark.parametrize("targets", [[], ["export"], ["gate", "backprop"]])
def test_a_flow_plans_what_dvc_repro_goes_through_in_its_order(
    targets: list[str], released: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(released.path)
    shown = released.run("dvc", "repro", "--dry", "--force", *targets)
    assert shown.returncode == 0, shown.stderr
    order = re.findall("^Running stage '(.+)':$", shown.stdout, re.MULTILINE)
    assert [stage.name for stage in dag.plan(targets)] == order
    assert targets == [] or set(order) < set(STAGES)


def test_a_flow_knows_the_arrows_that_dvc_shows(
    released: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(released.path)
    shown = released.run("dvc", "dag", "--dot").stdout
    plan = dag.plan()
    arrows = {(needed, stage.name) for stage in plan for needed in stage.needs}
    assert arrows == set(re.findall('^"([^"]+)" -> "([^"]+)";$', shown, re.MULTILINE))
    assert {stage.name for stage in plan} == set(re.findall('^"([^"]+)";$', shown, re.MULTILINE))


def test_a_flow_shows_the_reports_that_are_for_people(
    released: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(released.path)
    plan = {stage.name: stage for stage in dag.plan()}
    assert plan["gate"].texts == (Path("reports/gate.md"),)
    assert plan["evaluate"].metrics == (
        Path("reports/evaluation/metrics.json"),
        Path("reports/evaluation/speed.json"),
    )
    assert Path("reports/evaluation/confusion.png") in plan["evaluate"].images
    for stage in plan.values():
        for path in (*stage.texts, *stage.metrics, *stage.images):
            assert path.is_file()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder under DVC, without a stage."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([*DVC, "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    subprocess.run([*DVC, "config", "core.analytics", "false"], cwd=folder, check=True)
    return folder


@pytest.fixture
def folder(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a copy of it."""
    shutil.copytree(empty, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(command: list[str]) -> tuple[int, list[str]]:
    """Exit status of a command and the lines that it writes, errors too, as a flow sees them."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return result.returncode, result.stdout.splitlines()


def write_stages(folder: Path, **stages: object) -> None:
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


def copying(source: str, target: str) -> dict[str, object]:
    """A stage that copies a file."""
    return {"cmd": f"cp {source} {target}", "deps": [source], "outs": [target]}


def test_a_frozen_stage_needs_nothing_as_in_dvc(folder: Path) -> None:
    (folder / "given").touch()
    c, b, a = copying("given", "c"), copying("c", "b"), copying("b", "a")
    write_stages(folder, a=a, b=b, c=c)
    subprocess.run([*DVC, "repro", "--quiet"], check=True)
    write_stages(folder, a=a, b=b | {"frozen": True}, c=c)
    _, said = lines_of([*DVC, "repro", "--dry", "--force", "a"])
    assert not dag.ran("c", said)
    assert dag.ran("a", said)
    plan = dag.plan(["a"])
    assert [(stage.name, stage.needs) for stage in plan] == [("b", ()), ("a", ("b",))]
    assert {stage.name for stage in dag.plan()} == {"a", "b", "c"}


def test_a_stage_of_ones_own_shows_its_reports_without_more_code(folder: Path) -> None:
    write_stages(
        folder,
        summary={
            "cmd": "python summary.py",
            "outs": ["text.md", "notes.txt", "other.json", "other.png"],
            "metrics": ["metrics.json", "metrics.toml"],
            "plots": ["plot.png", "curve.csv"],
        },
    )
    (stage,) = dag.plan()
    assert stage.texts == (Path("text.md"),)
    assert stage.metrics == (Path("metrics.json"),)
    assert stage.images == (Path("plot.png"),)


@pytest.mark.parametrize(
    ("text", "targets", "said"),
    [
        (None, [], "does not exist"),
        (None, ["a"], "does not exist"),
        ("stages: {a: {cmd: echo}}", ["trian"], "'trian'"),
        ("stages: {a: {cmd: echo}}", ["a", "trian"], "'trian'"),
        ("stages: {a: {cmd: [", [], "corrupt"),
        (b"stages: \xff", [], "utf-8"),
        ("stages: 3", [], "validation failed"),
        ("stages: {a: {outs: [b]}}", [], "validation failed"),
        ("stages: {a: {cmd: echo, colour: red}}", [], "validation failed"),
        ("stages: {a: {cmd: x, deps: [p], outs: [q]}, b: {cmd: x, deps: [q], outs: [p]}}", [], "b"),
    ],
)
def test_a_dag_that_is_missing_or_wrong_is_an_error_that_says_so(
    text: str | bytes | None, targets: list[str], said: str, folder: Path
) -> None:
    if text is not None:
        (folder / "dvc.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=rf"^dvc\.yaml: .*{said}.*$"):
        dag.plan(targets)


def test_outside_of_dvc_there_is_no_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stages(tmp_path, a={"cmd": "echo"})
    with pytest.raises(UserError, match="DVC repository"):
        dag.plan()


def test_a_flow_tells_a_stage_that_ran_from_one_that_need_not(folder: Path) -> None:
    (folder / "a").write_text("first")
    write_stages(folder, ab=copying("a", "b"), b=copying("b", "c"))

    def runs(stage: str, *, force: bool = False) -> bool:
        status, said = lines_of(dag.repro_command(stage, force=force))
        assert status == 0, said
        assert dag.exit_status(said) is None
        return dag.ran(stage, said)

    assert runs("ab")
    assert not runs("ab")
    assert runs("ab", force=True)
    assert runs("b")
    (folder / "a").write_text("second")
    assert not runs("b")  # alone, without what it depends on
    assert runs("ab")
    assert runs("b")
    assert (folder / "c").read_text() == "second"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 3", 3),
        ("echo done, exited with 4; exit 1", 1),
        ("kill -KILL $$", None),
        ("command-that-is-not-there", 127),
    ],
)
def test_a_flow_learns_how_a_stage_failed(command: str, status: int | None, folder: Path) -> None:
    write_stages(folder, fails={"cmd": command})
    returncode, said = lines_of(dag.repro_command("fails", force=False))
    assert returncode != 0
    assert dag.ran("fails", said)
    assert dag.exit_status(said) == status


def test_no_output_is_no_exit_status_and_an_unknown_stage_did_not_run(folder: Path) -> None:
    assert dag.exit_status([]) is None
    write_stages(folder, a={"cmd": "exit 3"})
    returncode, said = lines_of(dag.repro_command("trian", force=False))
    assert returncode != 0
    assert not dag.ran("trian", said)
    assert dag.exit_status(said) is None
