"""A store of MLflow in SQLite, on disk: it follows its folder, and what was deleted comes back."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from sqlalchemy import make_url

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, read_json, sha256, write_csv, write_json
from pipeline.tracking import Part, lasting_address, links, promotion, store
from pipeline.tracking.store import correct_addresses, database
from tests.workspace import MODEL, needs_model, python

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # in MLflow
SUMMARY: dict[str, Any] = {
    "run_id": "0" * 32,
    "status": "finished",
    "started": "2026-01-02T03:04:05.000+00:00",
    "seconds": 2.0,
    "git_revision": "unknown",
    "flow_run": None,
    "params": {"epochs": 2, "batch_size": 50},
    "data_sha256": "d" * 64,
    "code_sha256": {"training": "c" * 64},
    "device": "cpu",
    "precision": "float32",
    "threads": 1,
    "hardware": {"cores": 2},
    "versions": {"python": "3.11"},
    "weights_sha256": "e" * 64,
}


def write_training(run_id: str, epochs: int = 2) -> None:
    """Put the reports of a training into the current folder."""
    history = [
        {"epoch": number, "training_loss": 1 / number, "seconds": 1.0}
        for number in range(1, epochs + 1)
    ]
    write_csv(paths.HISTORY, history)
    write_csv(paths.SYSTEM, [{"system/load": 1.0} for _ in history])
    write_json(paths.SUMMARY, SUMMARY | {"run_id": run_id, "final": history[-1]})


def publish(*parts: Part) -> list[Part]:
    """Publish these parts, or all, in this process; MLflow is slow to import."""
    from pipeline.tracking import publisher

    return [done.part for done in publisher.publish(parts or tuple(Part))]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one training in its store; making a store takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("template") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        at(folder, patch)
        (folder / "params.yaml").touch()
        write_training("first")
        publish(Part.TRAINING)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a folder of its own, as if it had been made there; the current one."""
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    at(folder, monkeypatch)
    rewrite(folder, str(template), str(folder))
    return folder


def at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


def rewrite(folder: Path, old: str, new: str) -> None:
    """Change all addresses in the store by hand."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))


def artifacts(folder: Path) -> set[str]:
    """The files under its mlartifacts/, without the folder of their run."""
    root = folder / "mlartifacts"
    return {
        str(Path(*path.relative_to(root).parts[2:])) for path in root.rglob("*") if path.is_file()
    }


def runs(folder: Path) -> list[tuple[str, str]]:
    """Name and artifacts' address of each run."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return store.execute("SELECT name, artifact_uri FROM runs ORDER BY name").fetchall()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_moved_project_has_its_artifacts_where_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    moved = tmp_path / "other place"
    project.rename(moved)
    at(moved, monkeypatch)
    write_training("second")
    publish(Part.TRAINING)
    assert not project.exists()
    location = (moved / "mlartifacts").as_uri()
    assert [(name, uri.startswith(f"{location}/")) for name, uri in runs(moved)] == [
        ("train-first", True),
        ("train-second", True),
    ]
    assert len(list(moved.glob("mlartifacts/*/artifacts/params.yaml"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(project) in line
    publish(Part.TRAINING)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("uri", [True, False])
def test_a_store_in_its_place_has_not_moved(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, uri: bool
) -> None:
    """Its address is as MLflow made it: a URI, or from `make mlflow` a path, as it is."""
    place = tmp_path / "50%25 of it"
    project.rename(place)
    rewrite(place, project.as_uri(), place.as_uri() if uri else str(place))
    monkeypatch.chdir(place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    correct_addresses()
    assert capsys.readouterr().err == ""


def test_a_moved_store_that_cannot_be_corrected_is_told(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow would say nothing but that a database is read-only."""
    moved = tmp_path / "moved"
    project.rename(moved)
    at(moved, monkeypatch)
    execute = store._replace

    def protected(database: sqlite3.Connection, old: str, new: str) -> None:
        database.execute("PRAGMA query_only = ON")
        execute(database, old, new)

    monkeypatch.setattr(store, "_replace", protected)
    with pytest.raises(UserError, match=f"has moved from {project}.*readonly"):
        correct_addresses()


def test_a_copy_writes_nothing_into_its_original(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = tmp_path / "copy"
    shutil.copytree(project, twin)
    before = content(project)
    at(twin, monkeypatch)
    write_training("second")
    publish(Part.TRAINING)
    assert content(project) == before
    assert len(list(twin.glob("mlartifacts/*/artifacts/params.yaml"))) == 2


def test_a_copy_of_the_database_alone_is_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its artifacts are the original's, and what it adds would be among them."""
    twin = tmp_path / "copy"
    shutil.copytree(project, twin, ignore=shutil.ignore_patterns("mlartifacts"))
    before = content(project)
    at(twin, monkeypatch)
    write_training("second")
    with pytest.raises(UserError, match=f"copy .*{project}/mlartifacts.* to {twin}/mlartifacts"):
        publish(Part.TRAINING)
    assert content(project) == before


def test_a_store_that_is_elsewhere_on_purpose_stays(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A database that several checkouts share, and artifacts on a disk of their own."""
    shared = tmp_path / "shared.db"
    (project / "mlflow.db").rename(shared)
    disk = tmp_path / "disk"
    (project / "mlartifacts").rename(disk)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    with closing(sqlite3.connect(shared)) as store, store:
        store.execute("UPDATE experiments SET artifact_location = ?", (disk.as_uri(),))
    write_training("second")
    publish(Part.TRAINING)
    assert len(list(disk.glob("*/artifacts/params.yaml"))) == 2
    assert not (project / "mlartifacts").exists()
    assert capsys.readouterr().err == ""


def test_a_new_store_has_its_artifacts_beside_it(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    shutil.copyfile(template / "mlflow.db", shared / "mlflow.db")
    with closing(sqlite3.connect(shared / "mlflow.db")) as store, store:
        for table in ("latest_metrics", "metrics", "params", "tags", "inputs", "runs"):
            store.execute(f"DELETE FROM {table}")
        store.execute("DELETE FROM experiments")
    write_training("first")
    publish(Part.TRAINING)
    assert artifacts(shared) >= {"params.yaml", "reports/train/history.csv"}


def test_two_checkouts_may_make_an_experiment_at_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    client, looks = MlflowClient(), iter([True])
    look = client.get_experiment_by_name
    monkeypatch.setattr(
        client, "get_experiment_by_name", lambda name: None if next(looks, False) else look(name)
    )
    assert store.experiment_id(client, "mnist-cnn") == "1"  # that of the other


def test_a_deleted_experiment_is_restored(project: Path, capsys: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name("mnist-cnn")
    assert found is not None
    client.delete_experiment(found.experiment_id)
    write_training("second")
    publish(Part.TRAINING)
    assert len(client.search_runs([found.experiment_id])) == 2
    assert "mnist-cnn was deleted: it is restored" in capsys.readouterr().err


def test_a_run_keeps_the_params_it_was_made_with(project: Path) -> None:
    """params.yaml is for the next training."""
    (project / "params.yaml").write_text("train: {epochs: 5}\n")
    publish(Part.TRAINING)
    (uploaded,) = project.glob("mlartifacts/*/artifacts/params.yaml")
    assert uploaded.read_text() == "train:\n  batch_size: 50\n  epochs: 2\n"


def evaluate() -> None:
    """Put the reports of an evaluation of the training in the current folder into it."""
    history = read_csv(paths.HISTORY)
    write_json(paths.EXPORT_REPORT, {"weights_sha256": "e" * 64, "model_sha256": "f" * 64})
    write_json(paths.SUBJECT, {"model_sha256": "f" * 64})
    write_json(paths.METRICS, {"accuracy": 0.5, "images": 10})
    write_json(paths.SPEED, {"latency_ms_p50": 1.5})
    losses = [{"epoch": row["epoch"], "training_loss": row["training_loss"]} for row in history]
    write_csv(paths.CURVES, [row | {"test_loss": 10 / row["epoch"]} for row in losses])
    write_json(paths.GATE_REPORT, {"passed": False, "model_sha256": "f" * 64})
    paths.GATE_TABLE.write_text("refused")


def test_each_number_of_a_run_has_its_epoch_and_its_time(project: Path) -> None:
    from mlflow import MlflowClient

    write_training("second")
    write_csv(paths.SYSTEM, [{"system/load": 1.0}, {"system/load": 2.0}])
    evaluate()
    publish(Part.TRAINING)
    client, begun = MlflowClient(), round(datetime.fromisoformat(SUMMARY["started"]).timestamp())
    (run,) = client.search_runs(["1"], "attributes.run_name = 'train-second'")
    points = {
        name: sorted(
            (point.step, point.value, point.timestamp / 1000 - begun)
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    assert points == {
        "training_loss": [(1, 1.0, 1), (2, 0.5, 2)],
        "seconds": [(1, 1.0, 1), (2, 1.0, 2)],
        "system/load": [(1, 1.0, 1), (2, 2.0, 2)],
        "test_loss": [(1, 10.0, 1), (2, 5.0, 2)],
        "evaluation/accuracy": [(2, 0.5, 2)],
        "evaluation/images": [(2, 10.0, 2)],
        "evaluation/latency_ms_p50": [(2, 1.5, 2)],
    }
    times = [run.info.start_time / 1000 - begun, run.info.end_time / 1000 - begun]
    assert (run.info.status, times) == ("FINISHED", [0, 2])
    expected = {
        "data_sha256": "d" * 64,
        "code_sha256.training": "c" * 64,
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
    assert artifacts(project) >= {f"reports/{name}" for name in reports}


def of_other_weights() -> None:
    write_json(paths.EXPORT_REPORT, {"weights_sha256": "0" * 64, "model_sha256": "f" * 64})


def of_another_file() -> None:
    for report in (paths.SUBJECT, paths.GATE_REPORT):
        write_json(report, read_json(report) | {"model_sha256": "0" * 64})


def of_an_earlier_history() -> None:
    rows = read_csv(paths.CURVES)
    write_csv(paths.CURVES, [row | {"training_loss": 9.0} for row in rows])


def without_speed() -> None:
    paths.SPEED.unlink()


def without_table() -> None:
    paths.GATE_TABLE.unlink()


def without_export() -> None:
    paths.EXPORT_REPORT.unlink()


@pytest.mark.parametrize(
    ("change", "evaluated", "judged"),
    [
        (None, True, True),
        (of_other_weights, False, False),
        (of_another_file, False, False),
        (without_export, False, False),
        (of_an_earlier_history, False, True),
        (without_speed, False, True),
        (without_table, True, False),
    ],
)
def test_a_training_is_shown_with_no_evaluation_or_verdict_of_another(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[], None] | None,
    evaluated: bool,
    judged: bool,
) -> None:
    from pipeline.tracking.snapshot import read_training

    monkeypatch.chdir(tmp_path)
    write_training("first")
    evaluate()
    if change:
        change()
    found = read_training(files=True)
    assert (found.evaluation is not None, bool(found.curves)) == (evaluated, evaluated)
    assert (found.passed, found.table) == ((False, "refused") if judged else (None, None))
    assert (str(paths.METRICS) in found.files) is evaluated
    assert (str(paths.EXPORT_REPORT) in found.files) is evaluated
    assert (str(paths.GATE_TABLE) in found.files) is judged


def test_publishing_again_adds_only_what_is_new(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from pipeline.tracking import publisher

    def published() -> bool:
        (done,) = publisher.publish([Part.TRAINING])
        return done.changed

    write_training("second", epochs=1)
    assert (published(), published()) == (True, False)
    logged: list[Any] = []
    log_batch = MlflowClient.log_batch

    def watched(client: MlflowClient, *arguments: Any, **options: Any) -> None:
        logged.extend(arguments[1] if len(arguments) > 1 else options.get("metrics", []))
        log_batch(client, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", watched)
    write_training("second", epochs=2)
    assert (published(), published()) == (True, False)
    assert sorted((point.key, point.step) for point in logged) == [
        ("seconds", 2),
        ("system/load", 2),
        ("training_loss", 2),
    ]
    write_json(paths.SUMMARY, read_json(paths.SUMMARY) | {"git_revision": "abc"})
    assert (published(), published()) == (True, False)
    (run,) = MlflowClient().search_runs(["1"], "attributes.run_name = 'train-second'")
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    path = project / "mlartifacts" / run.info.run_id / "artifacts" / paths.SUMMARY
    assert read_json(path)["git_revision"] == "abc"


def write_release() -> str:
    """Put a release of the training `first` into the current folder; gives the model's digest."""
    paths.RELEASES.mkdir()
    shutil.copy(MODEL, paths.RELEASED_MODEL)
    digest = sha256(paths.RELEASED_MODEL)
    paths.MODEL_CARD.write_text(
        "---\nlicense: mit\n---\n# mnist-cnn\n\nOf 784 pixels.\n---\nAnd more.\n"
    )
    metadata = {"invocationId": "new", "startedOn": SUMMARY["started"]}
    predicate = {"runDetails": {"metadata": metadata}}
    subject = [{"digest": {"sha256": digest}}]
    write_json(paths.PROVENANCE, {"subject": subject, "predicate": predicate})
    return digest


@needs_model
def test_a_registered_model_says_what_it_is_and_what_it_takes(project: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    from pipeline.tracking import publisher

    digest = write_release()
    assert publish(Part.RELEASE) == [Part.RELEASE]
    client = MlflowClient()
    version = client.get_model_version_by_alias("mnist-cnn", "champion")
    assert version.tags == {"sha256": digest}
    assert version.description == "# mnist-cnn\n\nOf 784 pixels.\n---\nAnd more.\n"
    assert "19,210 parameters" in client.get_registered_model("mnist-cnn").description
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.info.run_name == "train-new"
    assert (run.info.status, run.info.end_time) == ("FINISHED", run.info.start_time)
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    folder = Path(mlflow.artifacts.download_artifacts("models:/mnist-cnn@champion"))
    assert sha256(folder / "model.onnx") == digest
    requirements = {*(folder / "requirements.txt").read_text().split()}
    assert requirements >= {f"onnx=={onnx.__version__}", "onnxruntime", "numpy"}
    info = mlflow.models.get_model_info(str(folder))
    assert info.signature is not None
    (takes,), gives = info.signature.inputs.inputs, info.signature.outputs.inputs
    assert (takes.type, takes.shape) == (np.uint8, (-1, 28, 28))
    assert [(tensor.type, tensor.shape) for tensor in gives] == [(np.float32, (-1, 10))] * 2
    for _ in range(2):  # as if the answers of the first requests had been lost
        client.create_model_version(
            "mnist-cnn", str(version.source), tags=version.tags, model_id=output.model_id
        )
    assert [done.changed for done in publisher.publish([Part.RELEASE])] == [False]
    (left,) = client.search_model_versions("name = 'mnist-cnn'")
    assert left.version == version.version
    outputs = client.get_run(version.run_id).outputs
    assert outputs is not None
    (again,) = outputs.model_outputs
    assert again.model_id == output.model_id


@needs_model
def test_a_release_whose_files_do_not_belong_together_is_not_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking import registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "PAUSE", 0)
    digest = write_release()
    assert registry.read_release().digest == digest
    right = paths.PROVENANCE.read_text()
    paths.PROVENANCE.write_text(right.replace(digest, "0" * 64))
    with pytest.raises(UserError, match=r"provenance\.json is not of models/mnist-cnn\.onnx"):
        registry.read_release()
    waited: list[float] = []

    def released_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        paths.PROVENANCE.write_text(right)

    monkeypatch.setattr("pipeline.tracking.registry.time.sleep", released_meanwhile)
    assert registry.read_release().digest == digest
    assert len(waited) == 1


class Registry:
    """A registry with so many versions, the last of them new; digests are d1, d2, ..."""

    def __init__(self, count: int, champion: int | None) -> None:
        self.count = count
        self.aliases = {} if champion is None else {"champion": champion}

    def get_registered_model(self, name: str) -> Any:
        """The aliases are all that is of interest."""
        return self

    def search_model_versions(self, query: str) -> list[int]:
        """All versions."""
        return list(range(self.count))

    def get_model_version(self, name: str, version: str) -> Any:
        """The digest."""
        return SimpleNamespace(tags={"sha256": f"d{version}"})

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Move the champion."""
        self.aliases[alias] = int(version)


@pytest.mark.parametrize(
    ("count", "champion", "replaced", "promoted", "warned"),
    [
        (1, None, None, True, False),  # the first of all
        (2, None, None, False, False),  # somebody removed the alias
        (2, None, [], True, False),
        (2, 2, ["d1"], False, False),  # it is there already
        (2, 1, ["d1"], True, False),
        (3, 1, ["d2", "d1"], True, False),
        (3, 2, ["d1"], False, True),  # another release was faster
        (2, 1, [], False, True),
        (2, 1, None, False, False),  # published again, by whoever has the files
    ],
)
def test_the_alias_moves_only_from_what_the_release_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    count: int,
    champion: int | None,
    replaced: list[str] | None,
    promoted: bool,
    warned: bool,
) -> None:
    from pipeline.tracking.registry import _promote

    monkeypatch.chdir(tmp_path)
    write_json(promotion.NOTE, {"other": ["d9"]} | ({} if replaced is None else {"new": replaced}))
    registry: Any = Registry(count, champion)
    assert _promote(registry, str(count), "new") is promoted
    assert registry.aliases.get("champion") == (count if promoted else champion)
    said = capsys.readouterr().err
    assert (f"champion stays at version {champion}" in said) is warned
    assert bool(said) is warned
    assert promotion.replaced_by("new") is None
    assert promotion.replaced_by("other") == frozenset({"d9"})


def test_a_release_is_noted_with_all_that_it_replaces_until_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the alias would stay at a model that no server saw replaced, or leave a newer one."""
    monkeypatch.chdir(tmp_path)

    def release(content: bytes) -> str:
        new = tmp_path / "new"
        new.write_bytes(content)
        promotion.note(new)
        paths.RELEASED_MODEL.parent.mkdir(exist_ok=True)
        new.rename(paths.RELEASED_MODEL)
        return sha256(paths.RELEASED_MODEL)

    one = release(b"one")
    assert promotion.replaced_by(one) == frozenset()
    two, three = release(b"two"), release(b"three")
    assert promotion.replaced_by(two) == frozenset({one})
    assert promotion.replaced_by(three) == frozenset({one, two})
    assert promotion.replaced_by("0" * 64) is None
    assert release(b"two") == two  # back again
    assert promotion.replaced_by(two) == frozenset({one, two, three})
    promotion.forget("0" * 64)
    assert promotion.replaced_by(three) is not None
    four = release(b"four")
    promotion.forget(two)
    assert [promotion.replaced_by(model) for model in (one, two, three)] == [None] * 3
    assert promotion.replaced_by(four) == frozenset({one, two, three})
    promotion.NOTE.write_text("[]")
    assert promotion.replaced_by(four) is None


def test_a_training_that_begins_while_another_is_read_is_not_mixed_with_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking import snapshot

    begun: list[Path] = []

    def read_late(path: Path) -> list[dict[str, float]]:
        if not begun:
            begun.append(path)
            write_training("second", epochs=3)
        return read_csv(path)

    monkeypatch.setattr(snapshot, "read_csv", read_late)
    training = snapshot.read_training(files=True)
    assert training.summary["run_id"] == "second"
    assert [len(training.history), len(training.system)] == [3, 3]
    assert json.loads(training.files[str(paths.SUMMARY)])["run_id"] == "second"


def test_what_is_published_was_read_before_the_server_was_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds, in which the next training may begin."""
    from mlflow import MlflowClient

    from pipeline.tracking import publisher
    from pipeline.tracking.training import publish_training

    write_training("second")

    def begin_another(*arguments: Any, **options: Any) -> Any:
        write_training("third", epochs=4)
        return publish_training(*arguments, **options)

    monkeypatch.setattr(publisher, "publish_training", begin_another)
    publish(Part.TRAINING)
    client = MlflowClient()
    (run,) = client.search_runs(["1"], "attributes.run_name = 'train-second'")
    points = client.get_metric_history(run.info.run_id, "training_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 0.5)]
    local = client.download_artifacts(run.info.run_id, "reports/train/summary.json")
    assert json.loads(Path(local).read_text())["run_id"] == "second"


def test_files_that_do_not_belong_together_are_not_published(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking import snapshot

    monkeypatch.setattr(snapshot, "PAUSE", 0)
    write_csv(paths.HISTORY, [{"epoch": 1, "training_loss": 9.0, "seconds": 1.0}])
    with pytest.raises(UserError, match=r"history\.csv is not of the training in"):
        publish(Part.TRAINING)


@pytest.mark.parametrize("summary", [None, [], {"run_id": "second"}])
def test_a_summary_that_other_code_wrote_is_no_fault_of_the_server(
    project: Path, summary: Any
) -> None:
    write_json(paths.SUMMARY, summary)
    with pytest.raises(UserError, match=r"summary\.json does not have .*started"):
        publish(Part.TRAINING)


@pytest.mark.parametrize("provenance", [None, [], {}, {"subject": []}])
def test_a_provenance_that_other_code_wrote_is_no_fault_of_the_server(
    project: Path, provenance: Any
) -> None:
    paths.RELEASES.mkdir()
    for path in (paths.RELEASED_MODEL, paths.MODEL_CARD):
        path.write_text("released\n")
    write_json(paths.PROVENANCE, provenance)
    with pytest.raises(UserError, match=r"provenance\.json has another form"):
        publish(Part.RELEASE)


def test_an_upload_that_broke_off_is_made_again(project: Path) -> None:
    write_training("second")
    artifacts = project / "mlartifacts"
    aside = artifacts.rename(project / "aside")
    artifacts.touch()  # in the way
    with pytest.raises(OSError, match="mlartifacts"):
        publish(Part.TRAINING)
    artifacts.unlink()
    aside.rename(artifacts)
    publish(Part.TRAINING)
    assert len(list(project.glob("mlartifacts/*/artifacts/params.yaml"))) == 2


def test_more_points_than_fit_into_a_request_are_all_there(project: Path) -> None:
    from mlflow import MlflowClient

    from pipeline.tracking.backprop import Backprop, publish_backprop
    from pipeline.tracking.store import experiment_id

    history = [{"iteration": n, "E1": n + 0.1, "E2": n + 0.2, "E_total": n} for n in range(401)]
    summary = {"params": {}, "first_loss": 1.0, "last_loss": 0.5}
    client = MlflowClient()
    experiment = experiment_id(client, "back-propagation")
    publish_backprop(client, experiment, Backprop("b" * 64, summary, history, {}))
    (run,) = client.search_runs([experiment])
    for name in ("E1", "E2", "E_total"):
        points = client.get_metric_history(run.info.run_id, name)
        expected = [(row["iteration"], row[name]) for row in history]
        assert sorted((point.step, point.value) for point in points) == expected


@pytest.mark.parametrize("full", [0, 1])
def test_of_two_runs_of_one_training_the_fuller_stays(project: Path, full: int) -> None:
    """A registered model names it."""
    from mlflow import MlflowClient

    from pipeline.tracking.runs import RUN_TAG, find_run

    client = MlflowClient()
    twins = [client.create_run("1", tags={RUN_TAG: "twin"}).info.run_id for _ in range(2)]
    client.set_tag(twins[full], "weights_sha256", "e" * 64)
    assert find_run(client, "1", "twin", "train", 0).info.run_id == twins[full]
    left = client.search_runs(["1"], f"tags.`{RUN_TAG}` = 'twin'")
    assert [run.info.run_id for run in left] == [twins[full]]


@pytest.mark.parametrize("address", ["sqlite:///mlflow.db", "sqlite:///runs/all.db"])
def test_the_store_of_an_experiment_is_the_one_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    project = tmp_path / "50%25 of a ?"
    copy = project / ".dvc/tmp/exps/standalone/tmp1"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert lasting_address(address) == address
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    lasting = lasting_address(address)
    assert make_url(lasting).database == f"{project}/{address.removeprefix('sqlite:///')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lasting)
    assert str(database()) == make_url(lasting).database
    for other in ("sqlite:////srv/mlflow.db", "http://127.0.0.1:5000", "none"):
        assert lasting_address(other) == other


def test_an_experiment_is_tracked_by_name_and_registers_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    monkeypatch.setenv("DVC_ROOT", str(project))
    write_training("second")
    paths.RELEASED_MODEL.parent.mkdir()
    paths.RELEASED_MODEL.write_bytes(b"a model")
    assert publish() == [Part.TRAINING]
    client = MlflowClient()
    tags = {run.info.run_name: run.data.tags for run in client.search_runs(["1"])}
    assert tags["train-second"]["dvc.experiment"] == "sour-kiln"
    assert "dvc.experiment" not in tags["train-first"]
    assert client.search_registered_models() == []


def test_what_is_published_does_not_depend_on_the_locale(project: Path) -> None:
    write_json(paths.EXPORT_REPORT, {"weights_sha256": "e" * 64, "model_sha256": "f" * 64})
    write_json(paths.GATE_REPORT, {"passed": True, "model_sha256": "f" * 64})
    paths.GATE_TABLE.write_text("accuracy ≥ 99 %\n", encoding="utf-8")
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}
    result = python(project, "-m", "pipeline", "track", "training", **variables, **address)
    assert (result.returncode, result.stderr) == (0, "")
    with closing(sqlite3.connect("mlflow.db")) as store:
        query = "SELECT value FROM tags WHERE key = 'mlflow.note.content'"
        assert store.execute(query).fetchall() == [("accuracy ≥ 99 %\n",)]


def test_track_says_what_it_did(project: Path) -> None:
    address = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    write_training("second")
    said = [
        python(project, "-m", "pipeline", "track", *parts, **address).stdout.splitlines()
        for parts in ([], ["training", "release"])
    ]
    page = links.addresses()["training"]
    assert said == [
        [f"training: published, {page}"],
        [f"training: up to date, {page}", "release: nothing to publish here"],
    ]


@pytest.mark.parametrize("command", [["track"], ["predict", "--model", "models:/mnist-cnn/1", "x"]])
def test_outside_the_project_nothing_is_made(tmp_path: Path, command: list[str]) -> None:
    address = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    result = python(tmp_path, "-m", "pipeline", *command, **address)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "run from the folder that holds" in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def links_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_training("first")
    paths.TRACKED.parent.mkdir()
    return paths.TRACKED


@pytest.mark.parametrize(
    "other",
    [
        '{"audit": {"of": "x", "address": "y"}, "training": {"of": "first", "address": "z"}}',
        '{"release": null, "backprop": {"of": 1}, "training": {"of": "first", "address": "z"}}',
    ],
)
def test_links_that_another_version_noted_do_not_matter(links_file: Path, other: str) -> None:
    """A flow asks for them at its end: it would fail after all its work."""
    links_file.write_text(other)
    assert links.addresses() == {"training": "z"}
    links.note(Part.TRAINING, "here")
    assert links.addresses()["training"].endswith("/#/here")


@pytest.mark.parametrize("noted", ["[]", "[1, 2]", "7", "null", "{", '{"training": "z"}'])
def test_broken_links_are_none(links_file: Path, noted: str) -> None:
    links_file.write_text(noted)
    assert links.addresses() == {}


def test_a_broken_summary_has_no_link(links_file: Path) -> None:
    links_file.write_text('{"training": {"of": "first", "address": "z"}}')
    for text in ("{", "[]", "{}"):
        paths.SUMMARY.write_text(text)
        assert links.addresses() == {}


def test_links_are_for_people_and_each_part_keeps_its_own(
    links_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    links.note(Part.TRAINING, "runs/1")
    paths.BACKPROP.mkdir(parents=True)
    paths.BACKPROP_SUMMARY.write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("PIPELINE_MLFLOW_URL", "https://me:secret@digits.example/")
    links.note(Part.BACKPROP, "runs/2")
    assert links.addresses() == {
        "training": "http://127.0.0.1:5000/#/runs/1",
        "backprop": "https://digits.example/#/runs/2",
    }
    paths.BACKPROP_SUMMARY.write_text('{"another": "outcome"}')
    assert "backprop" not in links.addresses()
