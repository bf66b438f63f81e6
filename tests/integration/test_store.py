"""An MLflow store in SQLite, on disk: it moves with its folder and restores what was deleted."""

import errno
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_csv, write_json
from pipeline.core.workspace import Workspace
from pipeline.registry import acts, alias
from pipeline.registry.releases import Releases
from pipeline.tracking import Component, links, store
from pipeline.tracking.store import correct_addresses
from tests.checkout import python
from tests.folders import content
from tests.releases import make_release
from tests.reports import TRAINING, edit, write_evaluation, write_training

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # in MLflow
ALL = tuple(Component)


def publish(workspace: Workspace, *components: Component) -> list[Component]:
    """Publish some or all components in this process, since MLflow is slow to import."""
    from pipeline.cli import tracking

    return [done.component for done in tracking.publish(workspace, components or ALL)]


def client_of(workspace: Workspace) -> Any:
    """MLflow's client for the workspace's store."""
    from mlflow import MlflowClient

    return MlflowClient(store.address(workspace.root))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one training in its store, which takes MLflow seconds to create."""
    folder = tmp_path_factory.mktemp("template") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (folder / "params.yaml").touch()
        write_training(Workspace(folder), run_id="first")
        publish(Workspace(folder), Component.TRAINING)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the template, with addresses as if created in its folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    rewrite(folder, str(template), str(folder))
    return Workspace(folder)


def rewrite(folder: Path, old: str, new: str) -> None:
    """Replace a prefix in all addresses of the store."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))


def artifacts(folder: Path) -> set[str]:
    """The files under mlartifacts/, relative to their run's folder."""
    root = folder / "mlartifacts"
    return {
        str(Path(*path.relative_to(root).parts[2:])) for path in root.rglob("*") if path.is_file()
    }


def uploads(folder: Path) -> int:
    """The number of runs with files in a folder."""
    return len(list(folder.glob("*/artifacts/params.yaml")))


def runs(folder: Path) -> list[tuple[str, str]]:
    """The name and artifact URI of each run."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute("SELECT name, artifact_uri FROM runs ORDER BY name").fetchall()


# where the store is


@pytest.mark.parametrize("place", ["other place", "50%25 of it"])
def test_the_artifacts_of_a_moved_project_are_in_its_new_folder(
    project: Workspace, tmp_path: Path, capsys: Any, place: str
) -> None:
    moved = Workspace(project.root.rename(tmp_path / place))
    write_training(moved, run_id="second")
    publish(moved, Component.TRAINING)
    assert not project.root.exists()
    location = (moved.root / "mlartifacts").as_uri()
    assert [(name, uri.startswith(f"{location}/")) for name, uri in runs(moved.root)] == [
        ("train-first", True),
        ("train-second", True),
    ]
    assert uploads(moved.root / "mlartifacts") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(project.root) in line
    publish(moved, Component.TRAINING)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("uri", [True, False])
def test_a_store_that_has_not_moved_is_not_corrected(
    project: Workspace, tmp_path: Path, capsys: Any, uri: bool
) -> None:
    """MLflow records a URI or, when started by `make mlflow`, a plain path."""
    place = tmp_path / "50%25 of it"
    project.root.rename(place)
    rewrite(place, project.root.as_uri(), place.as_uri() if uri else str(place))
    correct_addresses(store.address(place))
    assert capsys.readouterr().err == ""


def test_a_moved_store_that_cannot_be_corrected_is_an_error(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would report only that a database is read-only."""
    moved = tmp_path / "moved"
    project.root.rename(moved)
    execute = store._replace

    def protected(database: sqlite3.Connection, old: str, new: str) -> None:
        database.execute("PRAGMA query_only = ON")
        execute(database, old, new)

    monkeypatch.setattr(store, "_replace", protected)
    with pytest.raises(UserError, match=f"{project.root}.*readonly"):
        correct_addresses(store.address(moved))


def test_a_copy_writes_nothing_into_its_original(project: Workspace, tmp_path: Path) -> None:
    twin = Workspace(shutil.copytree(project.root, tmp_path / "copy"))
    before = content(project.root)
    write_training(twin, run_id="second")
    publish(twin, Component.TRAINING)
    assert content(project.root) == before
    assert uploads(twin.root / "mlartifacts") == 2


def test_a_copy_of_the_database_alone_is_refused(project: Workspace, tmp_path: Path) -> None:
    """It would add its artifacts to the original's."""
    ignored, original = shutil.ignore_patterns("mlartifacts"), project.root
    twin = Workspace(shutil.copytree(original, tmp_path / "copy", ignore=ignored))
    before = content(original)
    write_training(twin, run_id="second")
    said = f"copy .*{original}/mlartifacts.* to {twin.root}/mlartifacts"
    with pytest.raises(UserError, match=said):
        publish(twin, Component.TRAINING)
    assert content(original) == before


def test_a_store_configured_elsewhere_is_left_alone(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A database shared by several checkouts, with artifacts on a separate disk."""
    shared = tmp_path / "shared.db"
    (project.root / "mlflow.db").rename(shared)
    disk = tmp_path / "disk"
    (project.root / "mlartifacts").rename(disk)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    with closing(sqlite3.connect(shared)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (disk.as_uri(),))
    write_training(project, run_id="second")
    publish(project, Component.TRAINING)
    assert uploads(disk) == 2
    assert not (project.root / "mlartifacts").exists()
    assert capsys.readouterr().err == ""


def test_a_new_store_has_its_artifacts_next_to_it(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    shutil.copyfile(template / "mlflow.db", shared / "mlflow.db")
    with closing(sqlite3.connect(shared / "mlflow.db")) as database, database:
        for table in ("latest_metrics", "metrics", "params", "tags", "inputs", "runs"):
            database.execute(f"DELETE FROM {table}")
        database.execute("DELETE FROM experiments")
    workspace = Workspace(tmp_path / "project")
    write_training(workspace, run_id="first")
    publish(workspace, Component.TRAINING)
    assert artifacts(shared) >= {"params.yaml", "reports/train/history.csv"}


def test_two_checkouts_may_create_an_experiment_at_once(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, looks = client_of(project), iter([True])
    look = client.get_experiment_by_name
    monkeypatch.setattr(
        client, "get_experiment_by_name", lambda name: None if next(looks, False) else look(name)
    )
    assert store.experiment_id(client, "mnist-cnn") == "1"  # created by the other checkout


def test_a_deleted_experiment_is_restored(project: Workspace, capsys: Any) -> None:
    client = client_of(project)
    found = client.get_experiment_by_name("mnist-cnn")
    assert found is not None
    client.delete_experiment(found.experiment_id)
    write_training(project, run_id="second")
    publish(project, Component.TRAINING)
    assert len(client.search_runs([found.experiment_id])) == 2
    assert "mnist-cnn" in capsys.readouterr().err


# trainings


def test_a_run_keeps_the_params_it_was_made_with(project: Workspace) -> None:
    """params.yaml may have changed for the next training."""
    write_training(project, run_id="second", params={"epochs": 2, "batch_size": 50})
    project.params.write_text("train: {epochs: 5}\n")
    publish(project, Component.TRAINING)
    (run,) = client_of(project).search_runs(["1"], "attributes.run_name = 'train-second'")
    uploaded = project.root / "mlartifacts" / run.info.run_id / "artifacts/params.yaml"
    assert uploaded.read_text() == "train:\n  batch_size: 50\n  epochs: 2\n"


def test_each_metric_of_a_run_has_its_epoch_and_time(project: Workspace) -> None:
    write_training(project, run_id="second")
    write_csv(project.system_metrics, [{"system/load": 1.0}, {"system/load": 2.0}])
    write_evaluation(project)
    publish(project, Component.TRAINING)
    client = client_of(project)
    begun = round(datetime.fromisoformat(TRAINING.started).timestamp())
    (run,) = client.search_runs(["1"], "attributes.run_name = 'train-second'")
    points = {
        name: sorted(
            (point.step, point.value, point.timestamp / 1000 - begun)
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    evaluation = {name: value for name, value in points.items() if name.startswith("evaluation/")}
    assert {name: value for name, value in points.items() if name not in evaluation} == {
        "training_loss": [(1, 1.0, 1), (2, 0.5, 2)],
        "seconds": [(1, 1.0, 1), (2, 1.0, 2)],
        "system/load": [(1, 1.0, 1), (2, 2.0, 2)],
        "test_loss": [(1, 10.0, 1), (2, 5.0, 2)],
    }
    assert evaluation["evaluation/accuracy"] == [(2, 0.994, 2)]
    assert evaluation["evaluation/images"] == [(2, 10_000.0, 2)]
    assert evaluation["evaluation/latency_ms_p50"] == [(2, 1.5, 2)]
    assert evaluation["evaluation/distorted_accuracy/noisy"] == [(2, 0.98, 2)]
    assert evaluation["evaluation/refused"] == [(2, 0.006, 2)]
    times = [run.info.start_time / 1000 - begun, run.info.end_time / 1000 - begun]
    assert (run.info.status, times) == ("FINISHED", [0, 2])
    assert run.data.params == {name: str(value) for name, value in TRAINING.params.items()}
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "mnist-train"
    expected = {
        "data_sha256": "d" * 64,
        "code_sha256.pipeline/training/trainer.py": "c" * 64,
        "weights_sha256": "e" * 64,
        "hardware.cores": "2",
        "version.python": "3.11",
        "device": "cpu",
        "precision": "float32",
        "threads": "1",
        "gate": "refused",
        "mlflow.note.content": "refused",
        "mlflow.source.git.commit": "unknown",
    }
    assert {name: run.data.tags.get(name) for name in expected} == expected
    reports = {"export.json", "gate.json", "gate.md"}
    reports |= {f"evaluation/{name}" for name in ("metrics.json", "speed.json", "curves.csv")}
    assert artifacts(project.root) >= {f"reports/{name}" for name in reports}


def test_publishing_again_adds_only_what_is_new(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from pipeline.cli import tracking

    def published() -> bool:
        (done,) = tracking.publish(project, [Component.TRAINING])
        return done.changed

    write_training(project, run_id="second", epochs=1)
    assert (published(), published()) == (True, False)
    logged: list[Any] = []
    log_batch = MlflowClient.log_batch

    def watched(client: MlflowClient, *arguments: Any, **options: Any) -> None:
        logged.extend(arguments[1] if len(arguments) > 1 else options.get("metrics", []))
        log_batch(client, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", watched)
    write_training(project, run_id="second", epochs=2)
    assert (published(), published()) == (True, False)
    assert sorted((point.key, point.step) for point in logged) == [
        ("seconds", 2),
        ("system/load", 2),
        ("training_loss", 2),
    ]
    edit(project.training_report, git_revision="abc")
    assert (published(), published()) == (True, False)
    (run,) = client_of(project).search_runs(["1"], "attributes.run_name = 'train-second'")
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    uploaded = project.root / "mlartifacts" / run.info.run_id / "artifacts"
    report = uploaded / project.name(project.training_report)
    assert read_json(report)["git_revision"] == "abc"


def test_reports_are_read_before_the_server_is_contacted(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing takes seconds, during which the next training may begin."""
    from pipeline.tracking import publisher
    from pipeline.tracking.training import publish_training

    write_training(project, run_id="second")

    def begin_another(*arguments: Any, **options: Any) -> Any:
        write_training(project, run_id="third", epochs=4)
        return publish_training(*arguments, **options)

    monkeypatch.setattr(publisher, "publish_training", begin_another)
    publish(project, Component.TRAINING)
    client = client_of(project)
    (run,) = client.search_runs(["1"], "attributes.run_name = 'train-second'")
    points = client.get_metric_history(run.info.run_id, "training_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 0.5)]
    local = client.download_artifacts(run.info.run_id, "reports/train/summary.json")
    assert json.loads(Path(local).read_text())["run_id"] == "second"


def test_a_report_of_another_schema_is_not_blamed_on_the_server(project: Workspace) -> None:
    edit(project.training_report, schema_version=None)
    with pytest.raises(UserError, match=r"summary\.json has no schema version"):
        publish(project, Component.TRAINING)


def test_an_interrupted_upload_is_repeated(project: Workspace) -> None:
    write_training(project, run_id="second")
    artifacts = project.root / "mlartifacts"
    aside = artifacts.rename(project.root / "aside")
    artifacts.touch()  # blocks the folder
    with pytest.raises(OSError, match="mlartifacts"):
        publish(project, Component.TRAINING)
    artifacts.unlink()
    aside.rename(artifacts)
    publish(project, Component.TRAINING)
    assert uploads(artifacts) == 2


@pytest.mark.parametrize("full", [0, 1])
def test_of_two_runs_of_one_training_the_complete_one_is_kept(
    project: Workspace, full: int
) -> None:
    """A registered model refers to it."""
    from pipeline.tracking.runs import RUN_TAG, find_run

    client = client_of(project)
    twins = [client.create_run("1", tags={RUN_TAG: "twin"}).info.run_id for _ in range(2)]
    client.set_tag(twins[full], "weights_sha256", "e" * 64)
    assert find_run(client, "1", "twin", "train", 0).info.run_id == twins[full]
    left = client.search_runs(["1"], f"tags.`{RUN_TAG}` = 'twin'")
    assert [run.info.run_id for run in left] == [twins[full]]


# releases


def write_release(workspace: Workspace) -> str:
    """Make a release of the training `new`; return the model's digest."""
    card = "---\nlicense: mit\n---\n# mnist-cnn\n\nOf 784 pixels.\n---\nAnd more.\n"
    return make_release(workspace, run_id="new", card=card).sha256


def test_a_registered_model_has_its_description_and_signature(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.models import Model

    from pipeline.cli import tracking
    from pipeline.registry import open_classifier

    digest = write_release(project)
    assert publish(project, Component.RELEASE) == [Component.RELEASE]
    client = client_of(project)
    with store.connect(project) as within:
        assert alias.follow(project, within)
        assert not alias.follow(project, within)
    version = client.get_model_version_by_alias("mnist-cnn", "champion")
    assert version.tags == {"sha256": digest, "release": "1"}
    assert version.description == "# mnist-cnn\n\nOf 784 pixels.\n---\nAnd more.\n"
    model = client.get_registered_model("mnist-cnn")
    assert model.description == "MNIST digits, 19,210 parameters"
    run = client.get_run(version.run_id)
    assert run.info.run_name == "train-new"
    assert (run.info.status, run.info.end_time) == ("FINISHED", run.info.start_time)
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    folder = Path(client.get_model_version_download_uri("mnist-cnn", "1").removeprefix("file://"))
    assert sha256(folder / "model.onnx") == digest
    requirements = {*(folder / "requirements.txt").read_text().split()}
    assert requirements >= {f"onnx=={onnx.__version__}", "onnxruntime", "numpy"}
    described = Model.load(str(folder)).signature
    assert described is not None
    (takes,), gives = described.inputs.inputs, described.outputs.inputs
    assert (takes.type, takes.shape) == (np.uint8, (-1, 28, 28))
    assert {tensor.type for tensor in gives} == {np.dtype(np.float32)}
    assert [tensor.shape for tensor in gives] == [(-1, 10), (-1, 10), (-1,)]
    with store.connect(project) as within:
        for _ in range(2):  # as if the first responses were lost
            within.create_model_version(
                "mnist-cnn", str(version.source), tags=version.tags, model_id=output.model_id
            )
    assert [done.changed for done in tracking.publish(project, [Component.RELEASE])] == [False]
    (left,) = client.search_model_versions("name = 'mnist-cnn'")
    assert left.version == version.version
    (again,) = client.get_run(version.run_id).outputs.model_outputs
    assert again.model_id == output.model_id
    # the library opens it from a subfolder, with the workspace's store as the default
    below = project.root / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    assert open_classifier("models:/mnist-cnn@champion").sha256 == digest
    # even after the workspace has moved
    moved = project.root.rename(tmp_path / "other place")
    monkeypatch.chdir(moved)
    assert open_classifier("models:/mnist-cnn/1").sha256 == digest


def test_an_unreadable_report_does_not_block_registration_of_a_release(
    project: Workspace,
) -> None:
    """For example, a report of an older version, which the release does not use."""
    digest = write_release(project)
    edit(project.training_report, schema_version=None)
    write_json(project.backprop_summary, {})
    said = r"summary\.json has no schema version, [^\n]*; .*backprop/summary\.json: params: [^\n]*$"
    with pytest.raises(UserError, match=said):
        publish(project)
    assert client_of(project).get_model_version("mnist-cnn", "1").tags["sha256"] == digest


def test_a_file_without_read_permission_is_not_blamed_on_the_server(project: Workspace) -> None:
    from pipeline.tracking.publisher import describe

    path = str(project.gate_report)
    denied = PermissionError(errno.EACCES, "Permission denied", path)
    assert describe(denied, project) == f"Permission denied: {path}"
    assert describe(ValueError("why"), project).endswith("mlflow.db: why")


@pytest.mark.parametrize("damage", [None, [], {}, {"subject": []}, "another model"])
def test_a_damaged_champion_is_not_registered(project: Workspace, damage: Any) -> None:
    """Nor is the fault blamed on the server."""
    make_release(project, run_id="new")
    (release,) = Releases.of(project).all.values()
    if damage == "another model":
        damage = json.loads(release.provenance.read_text())
        damage["subject"][0]["digest"]["sha256"] = "0" * 64
    write_json(release.provenance, damage)
    (release.folder / "SHA256SUMS").unlink()
    acts.seal(release.folder)
    with pytest.raises(UserError, match=r"provenance\.json"):
        publish(project, Component.RELEASE)


def test_a_release_that_this_code_cannot_read_does_not_block_the_others(
    project: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """For example, one with a model signature of an earlier version."""
    make_release(project, 0, run_id="new")
    make_release(project, 1, run_id="new")
    old = Releases.of(project).find(1)
    model = onnx.load(old.model)
    del model.metadata_props[:]
    onnx.save(model, old.model)
    (old.folder / "SHA256SUMS").unlink()
    acts.seal(old.folder)
    publish(project, Component.RELEASE)
    assert "release 1" in capsys.readouterr().err
    (version,) = client_of(project).search_model_versions("name = 'mnist-cnn'")
    assert version.tags["release"] == "2"


# the command


def test_an_experiment_is_tracked_by_name_and_registers_nothing(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    write_training(project, run_id="second")
    write_release(project)
    assert publish(project) == [Component.TRAINING]
    client = client_of(project)
    tags = {run.info.run_name: run.data.tags for run in client.search_runs(["1"])}
    assert tags["train-second"]["dvc.experiment"] == "sour-kiln"
    assert "dvc.experiment" not in tags["train-first"]
    assert client.search_registered_models() == []


def test_published_text_does_not_depend_on_the_locale(project: Workspace) -> None:
    write_evaluation(project)
    project.gate_table.write_text("accuracy ≥ 99 %\n", encoding="utf-8")
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    address = {"MLFLOW_TRACKING_URI": ""}
    result = python(project.root, "-m", "pipeline", "track", "training", **variables, **address)
    assert (result.returncode, result.stderr) == (0, "")
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database:
        query = "SELECT value FROM tags WHERE key = 'mlflow.note.content'"
        assert database.execute(query).fetchall() == [("accuracy ≥ 99 %\n",)]


def test_track_reports_what_it_did_even_from_another_folder(
    project: Workspace, tmp_path: Path
) -> None:
    write_training(project, run_id="second")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    track = ["-m", "pipeline", "--workspace", str(project.root), "track"]
    said = [
        python(folder, *track, *components, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
        for components in ([], ["training", "release"])
    ]
    page = links.addresses(project)["training"]
    assert [result.stdout.splitlines() for result in said] == [
        [f"training: published, {page}"],
        [f"training: up to date, {page}", "release: nothing to publish here"],
    ]
    assert list(folder.iterdir()) == []


def test_make_mlflow_serves_the_local_store_from_a_subfolder(
    project: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.tracking import show

    served: list[list[str]] = []
    monkeypatch.setattr("os.execve", lambda program, words, environment: served.append(words))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    below = project.root / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    show.main()
    assert capsys.readouterr().out.splitlines() == [
        "runs of mnist-cnn: http://127.0.0.1:5000/#/experiments/1/runs",
        "models: http://127.0.0.1:5000/#/models",
    ]
    (words,) = served
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{project.root}/mlflow.db"
    assert options["--default-artifact-root"] == (project.root / "mlartifacts").as_uri()


def test_outside_a_project_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.registry import open_classifier

    result = python(tmp_path, "-m", "pipeline", "track", MLFLOW_TRACKING_URI="")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "params.yaml" in line
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = f"^models:/mnist-cnn/1 cannot be loaded: {tmp_path}/mlflow.db is missing; "
    with pytest.raises(UserError, match=said):
        open_classifier("models:/mnist-cnn/1")
    assert list(tmp_path.iterdir()) == []
