"""MLflow as a projection of files, with servers that work, hang, die, lose responses, or fail."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import requests
import yaml
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from benchmarks.servers import free_port
from pipeline.cli import app
from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, sha256, write_json
from pipeline.core.reports import FlowRun, JudgedProviders, Metrics, TrainingReport
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.registry import acts, open_classifier
from pipeline.stages import (
    calibrate,
    detect,
    evaluate,
    export,
    fetch,
    gate,
    prepare,
    release,
)
from pipeline.tracking import background, links
from tests.checkout import PROJECT, SMALL, TEST, TRAINING, UNTRACKED
from tests.digits import make_digits, write_mirror
from tests.releases import make_workspace, pass_gate
from tests.reports import edit, write_training
from tests.servers import wait_until

if TYPE_CHECKING:  # slow to import, so only tests import it
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.timeout(600),  # the first test waits for two trainings and two servers
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),  # in MLflow
]
EPOCHS = 6
MISSED = "MLflow is not up to date"
IMPATIENT = """
from pipeline.cli import main
from pipeline.tracking import background
background.AT_THE_END = 1  # second
main()
"""
FLOW_RUN = FlowRun(id="0199-4a", url="http://127.0.0.1:4200/runs/flow-run/0199-4a")
ANOTHER = FlowRun(id="0199-4b", url="http://prefect/4b")
Champion = Callable[[str], str]


class Server:
    """A real `mlflow server` with its own store, and a client to inspect it."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = MlflowClient(self.url)
        self.start()

    def start(self) -> None:
        """Start the process, each time on the same port and store. Call `wait` afterwards."""
        options = {
            "--workers": "1",
            "--port": str(self.port),
            "--backend-store-uri": f"sqlite:///{self.folder}/store.db",
            "--artifacts-destination": f"{self.folder}/artifacts",
        }
        words = [word for option in options.items() for word in option]
        lean = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(PROJECT),
        }
        supervisor = [sys.executable, "-m", "pipeline.core.supervisor"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*supervisor, sys.executable, "-m", "mlflow", "server", *words],
                cwd=self.folder,
                env=os.environ | lean,
                stdin=subprocess.PIPE,  # closes when this process ends, for whatever reason
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the server answers."""

        def answers() -> bool:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                return requests.get(f"{self.url}/health", timeout=5).ok
            except requests.RequestException:
                return False

        wait_until(answers)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its worker."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill the server, as in a crash."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def runs(self, experiment: str) -> "list[Run]":
        """The runs of an experiment."""
        found = self.client.get_experiment_by_name(experiment)
        return list(self.client.search_runs([found.experiment_id])) if found else []

    def run(self, experiment: str = "mnist-cnn") -> "Run":
        """The only run of an experiment."""
        (run,) = self.runs(experiment)
        return run

    def points(self, run: "Run", metric: str) -> list[tuple[float, float]]:
        """The step and value of each point of a metric."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def page(self, run: "Run") -> str:
        """The URL of a run in the MLflow UI."""
        return f"{self.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"

    def artifacts(self, run: "Run", folder: str | None = None) -> set[str]:
        """The paths of a run's artifacts."""
        entries = self.client.list_artifacts(run.info.run_id, folder)
        inner = (self.artifacts(run, entry.path) for entry in entries if entry.is_dir)
        return {entry.path for entry in entries if not entry.is_dir}.union(*inner)

    def content(self) -> list[str]:
        """Every row of the store and every artifact with its modification time."""
        files = [path for path in sorted(self.folder.glob("artifacts/**/*")) if path.is_file()]
        with closing(sqlite3.connect(self.folder / "store.db")) as store:
            rows = list(store.iterdump())
        return rows + [f"{path} {path.stat().st_mtime_ns}" for path in files]


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Workspace:
    """A workspace ready for a training run of a few seconds."""
    workspace = Workspace(tmp_path_factory.mktemp("prepared") / "project")
    files = write_mirror(workspace.root / "mirror", TRAINING, TEST)
    images, labels = make_digits(TEST, seed=2)
    expected = workspace.root / "expected.safetensors"
    save_file({"images": images, "labels": labels}, expected)
    set_params(
        workspace,
        {
            **SMALL,
            "fetch": SMALL["fetch"] | {"files": files, "mirrors": [str(workspace.root / "mirror")]},
            "backprop": {"updates": 400},  # more metrics than fit in one request
            "train": {"epochs": EPOCHS, "batch_size": 20, "validation_size": 1200},
            "gate": SMALL["gate"]
            | {"min_accuracy": 0.5, "min_recall": 0.0, "test_sha256": sha256(expected)},
        },
    )
    params = load_params(workspace.params)
    fetch.run(workspace, params.fetch)
    prepare.run(workspace, params.prepare, TASK)
    server.wait()
    return workspace


@pytest.fixture(scope="module")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Workspace], Workspace]:
    """A function that copies a workspace to a new folder."""

    def copy_of(workspace: Workspace) -> Workspace:
        folder = tmp_path_factory.mktemp("copy") / "project"
        return Workspace(Path(shutil.copytree(workspace.root, folder)))

    return copy_of


Copy = Callable[[Workspace], Workspace]


@pytest.fixture(scope="module")
def untracked_weights(prepared: Workspace, copy_of: Copy) -> str:
    """The digest of the weights after training without tracking."""
    workspace = copy_of(prepared)
    run(workspace, "train", MLFLOW_TRACKING_URI="none")
    return sha256(workspace.weights)


@pytest.fixture(scope="module")
def released(prepared: Workspace, server: Server, copy_of: Copy) -> Workspace:
    """A release made after the server died mid-training. The server is running again."""
    workspace = copy_of(prepared)
    with paused_training(workspace, MLFLOW_TRACKING_URI=server.url) as training:
        wait_until(lambda: server.runs("mnist-cnn"))
        server.kill()
        ends_well_but_untracked(training)
    with variables(MLFLOW_TRACKING_URI="none"):
        params = load_params(workspace.params)
        detect.run(workspace, params, TASK)
        calibrate.run(workspace, params.calibrate, TASK)
        export.run(workspace, params.export, TASK)
        evaluate.run(workspace, params.evaluate, TASK)
        gate.run(workspace, params.gate)
    ends_well_but_untracked(start(workspace, "release", MLFLOW_TRACKING_URI=server.url))
    server.start()
    server.wait()
    synchronise(workspace, server.url)
    return workspace


def test_a_run_is_complete_even_if_the_server_died_during_it(
    released: Workspace, server: Server, untracked_weights: str
) -> None:
    run = server.run()
    assert sha256(released.weights) == untracked_weights
    assert run.info.status == "FINISHED"
    recipe = yaml.safe_load(released.params.read_text())["train"]
    assert run.data.params == {name: str(value) for name, value in recipe.items()}
    for table in (released.history, released.system_metrics, released.curves):
        shows_every_epoch_once(server, run, table)
    accuracy = Metrics.read(released.metrics).accuracy
    assert run.data.metrics["evaluation/accuracy"] == accuracy


def test_a_run_has_the_figures_and_reports(
    released: Workspace, server: Server, tmp_path: Path
) -> None:
    run = server.run()
    figures = {f"reports/evaluation/{name}.png" for name in ("curves", "confusion")}
    reports = {"params.yaml", "reports/train/history.csv", "reports/gate.md"}
    assert server.artifacts(run) >= figures | reports
    name = "reports/evaluation/confusion.png"
    copied = Path(server.client.download_artifacts(run.info.run_id, name, str(tmp_path)))
    assert copied.read_bytes() == (released.root / name).read_bytes()


def test_a_release_made_while_the_server_was_down_becomes_champion(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    (version,) = server.client.search_model_versions("name = 'mnist-cnn'")
    run = server.run()
    assert version.run_id == run.info.run_id
    assert run.outputs is not None
    (model_output,) = run.outputs.model_outputs
    assert version.source == f"models:/{model_output.model_id}"
    assert "# mnist-cnn" in str(version.description)
    model = mlflow.pyfunc.load_model("models:/mnist-cnn@champion")
    signature = model.metadata.signature
    assert signature.inputs.input_names() == ["images"]
    assert signature.outputs.input_names() == ["logits", "probabilities", "novelty"]
    assert model.predict(model.input_example)["probabilities"].shape == (1, 10)
    assert accuracy_of(released, model.predict(images_of(released))["logits"].argmax(1))


@pytest.mark.parametrize("which", ["@champion", "/1"])
def test_the_classifier_reads_digits_with_the_registered_model(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    classifier = open_classifier(f"models:/mnist-cnn{which}")
    assert classifier.sha256 == sha256(released.released_model)
    assert classifier.judged == JudgedProviders.read(released.judged_providers).providers
    assert accuracy_of(released, classifier.predict(images_of(released)).probabilities.argmax(1))


def test_the_classifier_refuses_a_file_that_differs_from_the_registered_one(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    right = server.client.get_model_version("mnist-cnn", "1").tags["sha256"]
    server.client.set_model_version_tag("mnist-cnn", "1", "sha256", "0" * 64)
    try:
        with pytest.raises(UserError, match=f"{right}, not {'0' * 64}"):
            open_classifier("models:/mnist-cnn/1")
    finally:
        server.client.set_model_version_tag("mnist-cnn", "1", "sha256", right)


@pytest.mark.parametrize("which", ["mnist-cnn@nobody", "mnist-cnn/99", "another@champion"])
def test_an_unregistered_model_is_named(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    with pytest.raises(UserError, match=f"^models:/{which} cannot be loaded: MLflow at http"):
        open_classifier(f"models:/{which}")


def test_tracking_again_changes_nothing(released: Workspace, server: Server) -> None:
    before = server.content(), links.addresses(released)
    publish(released, server.url)
    assert (server.content(), links.addresses(released)) == before


@pytest.mark.parametrize("ending", ["", "/"])
def test_links_match_the_pages_of_the_server(
    released: Workspace, server: Server, copy_of: Copy, ending: str
) -> None:
    workspace = copy_of(released)
    workspace.tracked.unlink()
    publish(workspace, server.url + ending)
    (version,) = server.client.search_model_versions("name = 'mnist-cnn'")
    assert links.addresses(workspace) == {
        "training": server.page(server.run()),
        "release": f"{server.url}/#/models/mnist-cnn/versions/{version.version}",
    }


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_opens_the_linked_pages(
    released: Workspace, server: Server, tmp_path: Path
) -> None:
    name = server.run().info.run_name  # on the run's page and, as the source, on the model's page

    def shown(address: str) -> str:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        command = ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    for link in links.addresses(released).values():
        assert name in shown(link)
    assert name not in shown(server.page(server.run()) + "0")


def test_a_training_links_to_its_flow_run_even_if_published_later(
    tmp_path: Path, server: Server
) -> None:
    """A stage of another flow run may publish it."""
    server.wait()
    workspace = Workspace(tmp_path)
    write_training(workspace, run_id="flow", flow_run=FLOW_RUN)
    for variable in ({}, in_flow_run(ANOTHER)):
        publish(workspace, server.url, MLFLOW_EXPERIMENT_NAME="in a flow run", **variable)
        assert flow_run(server.run("in a flow run")) == FLOW_RUN.model_dump()
    write_training(workspace, run_id="by hand")
    publish(workspace, server.url, MLFLOW_EXPERIMENT_NAME="by hand", **in_flow_run(ANOTHER))
    assert flow_run(server.run("by hand")) == {}


def test_the_backprop_stage_has_one_run_with_every_iteration_and_its_files(
    prepared: Workspace, server: Server, copy_of: Copy
) -> None:
    """Equal outcomes share one run, which links to the flow run that published it last."""
    workspace = copy_of(prepared)
    assert MISSED not in run(workspace, "backprop", MLFLOW_TRACKING_URI=server.url)
    found = server.run("back-propagation")
    assert found.info.status == "FINISHED"
    params = yaml.safe_load(workspace.params.read_text())["backprop"]
    assert found.data.params == {name: str(value) for name, value in params.items()}
    rows = read_csv(workspace.backprop_history)
    assert len(rows) == 401
    assert server.points(found, "E_total") == [(row["iteration"], row["E_total"]) for row in rows]
    files = workspace.backprop_reports.iterdir()
    assert server.artifacts(found) == {workspace.name(path) for path in files}
    assert links.addresses(workspace) == {"backprop": server.page(found)}
    before = server.content()
    publish(workspace, server.url)
    assert server.content() == before
    for made_by in (FLOW_RUN, ANOTHER):
        publish(workspace, server.url, **in_flow_run(made_by))
        assert flow_run(server.run("back-propagation")) == made_by.model_dump()


def test_a_hanging_server_neither_stops_nor_changes_a_training(
    prepared: Workspace, server: Server, untracked_weights: str, copy_of: Copy
) -> None:
    workspace = copy_of(prepared)
    named = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_EXPERIMENT_NAME": "hang"}
    with paused_training(workspace, "-c", IMPATIENT, **named) as training:
        wait_until(lambda: server.runs("hang"))
        server.signal(signal.SIGSTOP)
        try:
            ends_well_but_untracked(training)
        finally:
            server.signal(signal.SIGCONT)
    assert sha256(workspace.weights) == untracked_weights
    publish(workspace, server.url, MLFLOW_EXPERIMENT_NAME="hang")
    found = server.run("hang")
    assert found.info.status == "FINISHED"
    shows_every_epoch_once(server, found, workspace.history)


def test_a_killed_training_is_shown_as_killed_and_resumes_as_the_same_run(
    released: Workspace, server: Server, copy_of: Copy
) -> None:
    workspace = copy_of(released)
    set_params(workspace, {"train": {"seed": 2}})
    named = {"MLFLOW_EXPERIMENT_NAME": "killed"}

    def shown() -> list[tuple[float, float]]:
        return server.points(server.run("killed"), "training_loss")

    with paused_training(workspace, MLFLOW_TRACKING_URI=server.url, **named) as training:
        losses = [(row["epoch"], row["training_loss"]) for row in read_csv(workspace.history)]
        wait_until(lambda: server.runs("killed") and shown() == losses)
        publish(workspace, server.url, **named)
        assert server.run("killed").info.status == "RUNNING"
        assert links.addresses(workspace)["training"] == server.page(server.run("killed"))
        training.kill()
        training.communicate(timeout=120)  # also waits for the follower, which shares the pipe
    assert server.run("killed").info.status == "KILLED"
    resumed = TrainingReport.read(workspace.training_report).run_id
    run(workspace, "train", MLFLOW_TRACKING_URI="none")
    assert TrainingReport.read(workspace.training_report).run_id == resumed
    publish(workspace, server.url, **named)
    found = server.run("killed")
    assert found.info.status == "FINISHED"
    shows_every_epoch_once(server, found, workspace.history)
    # the previous model's reports are still on disk, but belong to another run
    assert not [name for name in found.data.metrics if name.startswith(("evaluation", "test"))]
    assert "gate" not in found.data.tags
    assert not [path for path in server.artifacts(found) if "evaluation" in path or "gate" in path]


def test_lost_responses_cause_no_duplicates(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wait()
    name = "forgotten-cnn"
    workspace = release_of(tmp_path, name, monkeypatch)
    jitter = {"MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0", "MLFLOW_EXPERIMENT_NAME": name}

    def published(url: str) -> bool:
        try:
            publish(workspace, url, **jitter)
        except Exception:  # a response was lost, or the item already exists
            return False
        return True

    with lossy_proxy(server) as url:
        wait_until(lambda: published(url))
    found = server.run(name)
    assert found.info.status == "FINISHED"
    assert server.points(found, "training_loss") == [(1, 1.0), (2, 0.5)]
    (version,) = server.client.search_model_versions(f"name = '{name}'")
    assert version.run_id == found.info.run_id
    (model,) = server.client.search_logged_models([found.info.experiment_id])
    assert version.source == model.model_uri


def test_a_broken_server_stops_neither_training_nor_release(
    prepared: Workspace, copy_of: Copy, tmp_path: Path
) -> None:
    trained, released = copy_of(prepared), make_workspace(tmp_path / "released")
    set_params(trained, {"train": {"epochs": 1}})
    write_json(released.tracked, {"release": {"of": "the model before it", "address": "x"}})
    with broken_server(200) as page, broken_server(500) as broken:
        training = start(trained, "train", MLFLOW_TRACKING_URI=page)
        ends_well_but_untracked(start(released, "release", MLFLOW_TRACKING_URI=broken))
        ends_well_but_untracked(training)
    assert links.addresses(trained) == links.addresses(released) == {}


@pytest.mark.parametrize("status", [200, 500, None], ids=["web page", "errors", "no server"])
def test_track_reports_an_unusable_server_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    workspace = make_workspace(tmp_path)
    with broken_server(status) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        result = CliRunner().invoke(app, ["--workspace", str(workspace.root), "track"])
    assert isinstance(result.exception, UserError)
    said = str(result.exception)
    assert said.startswith(f"MLflow at {url}: ")
    assert "\n" not in said
    if status is None:
        assert said == f"MLflow at {url}: no answer (Connection refused)"


def test_a_refusal_by_the_registry_is_reported(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        status, content = forward(request, server)
        if request.path.endswith("/registered-models/create"):
            status, content = 403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}'
        request.send_response(status)
        request.end_headers()
        request.wfile.write(content)

    server.wait()
    workspace = release_of(tmp_path, "refused-cnn", monkeypatch)
    with web_server(answer) as url, pytest.raises(Exception, match="PERMISSION_DENIED: not you"):
        publish(workspace, url)


@pytest.fixture
def champion(server: Server, monkeypatch: pytest.MonkeyPatch) -> Champion:
    """A function that returns the SHA-256 of a model's champion.

    Stages publish to the shared server from this process.
    """
    from pipeline.cli import registry

    def synchronise_here(workspace: Workspace) -> None:
        if background.enabled():
            registry.synchronise(workspace)

    monkeypatch.setattr(background, "synchronise", synchronise_here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    server.wait()
    client = server.client
    return lambda name: str(client.get_model_version_by_alias(name, "champion").tags["sha256"])


def release_of(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with an untracked release of a model of this name."""
    workspace = make_workspace(folder / "project", replace(TASK, model=name))
    shutil.rmtree(workspace.models)
    edit(workspace.training_report, run_id=name)  # MLflow caches addresses by run
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    with variables(MLFLOW_TRACKING_URI="none"):
        release_another(workspace, name, "the first")
    return workspace


def release_another(workspace: Workspace, name: str, description: str) -> str:
    """Release the model with another description, hence another digest; return the digest."""
    model = onnx.load(workspace.model)
    model.doc_string = description
    onnx.save(model, workspace.model)
    pass_gate(workspace)
    release.run(workspace, load_params(workspace.params), replace(TASK, model=name))
    return sha256(workspace.released_model)


def test_an_older_clone_cannot_move_the_champion_back(
    tmp_path: Path,
    copy_of: Copy,
    champion: Champion,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither by publishing nor by its own release, not even after a rollback in the newer one."""
    name = "moved-cnn"
    first = release_of(tmp_path, name, monkeypatch)
    publish(first, server.url)
    with pytest.raises(Exception, match="champion"):
        champion(name)  # `track` moves no alias
    synchronise(first, server.url)
    assert champion(name) == sha256(first.released_model)
    older = copy_of(first)
    assert release_another(older, name, "older") == champion(name)
    newer = copy_of(older)
    newest = release_another(newer, name, "newer")
    assert newest == champion(name)
    for clone in (older, first):
        publish(clone, server.url)
        synchronise(clone, server.url)
        assert champion(name) == newest != sha256(clone.released_model)
    release_another(older, name, "another")
    assert champion(name) == newest
    acts.rollback(newer, 1)
    synchronise(newer, server.url)
    assert champion(name) == sha256(first.released_model)
    synchronise(older, server.url)
    assert champion(name) == sha256(first.released_model)


def test_unpublished_releases_become_champion_later(
    tmp_path: Path, champion: Champion, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "unseen-cnn"
    workspace = release_of(tmp_path, name, monkeypatch)
    synchronise(workspace, server.url)
    first = champion(name)
    with variables(MLFLOW_TRACKING_URI="none"):
        release_another(workspace, name, "one")
        last = release_another(workspace, name, "two")
    synchronise(workspace, server.url)
    assert champion(name) == last
    server.client.set_registered_model_alias(name, "champion", "1")  # by another program
    synchronise(workspace, server.url)
    assert champion(name) == first


def shows_every_epoch_once(server: Server, run: "Run", table: Path) -> None:
    rows = read_csv(table)
    assert len(rows) == EPOCHS
    for metric in rows[0].keys() - {"epoch"}:
        expected = [(epoch, row[metric]) for epoch, row in enumerate(rows, start=1)]
        assert server.points(run, metric) == expected, metric


def ends_well_but_untracked(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.count(MISSED) == 1
    assert "Traceback" not in errors


def images_of(workspace: Workspace) -> Any:
    return load_file(workspace.test_set)["images"]


def accuracy_of(workspace: Workspace, predicted: Any) -> bool:
    """Whether these predictions have the accuracy of the evaluation report."""
    labels = load_file(workspace.test_set)["labels"]
    return bool((predicted == labels).mean() == Metrics.read(workspace.metrics).accuracy)


def set_params(workspace: Workspace, sections: dict[str, dict[str, Any]]) -> None:
    """Change values in params.yaml; start from the project's if the workspace has none."""
    path = workspace.params if workspace.params.exists() else PROJECT / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        params[section] |= values
    workspace.params.write_text(yaml.safe_dump(params, sort_keys=False))


def in_flow_run(flow_run: FlowRun) -> dict[str, str]:
    """The environment variables of the stages of a flow run."""
    return {f"PIPELINE_FLOW_RUN_{name.upper()}": value for name, value in flow_run}


def flow_run(run: "Run") -> dict[str, str]:
    """The tags of a run that identify its flow run."""
    prefix = "prefect.flow_run."
    tags = run.data.tags.items()
    return {name.removeprefix(prefix): value for name, value in tags if name.startswith(prefix)}


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set environment variables within the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def publish(workspace: Workspace, url: str, **values: str) -> None:
    """Publish in this process, like `track`, since MLflow is slow to import."""
    from pipeline.cli import tracking

    with variables(MLFLOW_TRACKING_URI=url, **values):
        tracking.publish(workspace)


def synchronise(workspace: Workspace, url: str) -> None:
    """Publish in this process and move the alias, like `releases --sync`."""
    from pipeline.cli import registry

    with variables(MLFLOW_TRACKING_URI=url):
        registry.synchronise(workspace)


def start(
    workspace: Workspace, command: str, *program: str, **variables: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "pipeline")), command],
        cwd=workspace.root,
        env=UNTRACKED | {"OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(workspace: Workspace, command: str, **variables: str) -> str:
    """Run a stage and return its standard error."""
    process = start(workspace, command, **variables)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


@contextmanager
def paused_training(
    workspace: Workspace, *program: str, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """A training paused halfway (SIGSTOP), while its MLflow follower continues."""

    def halfway() -> bool:
        if not workspace.training_report.exists():
            return False
        report = TrainingReport.read(workspace.training_report)
        return report.status == "unfinished" and (report.final or {}).get("epoch", 0) >= 2

    process = start(workspace, "train", *program, **variables)
    try:
        wait_until(halfway)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def web_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The URL of a web server that handles every request with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def broken_server(status: int | None) -> Iterator[str]:
    """The URL of a server that answers with this status and a web page, or of no server if None."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status or 0)
        request.end_headers()
        request.wfile.write(b"<html>Good morning</html>")

    if status is None:
        yield f"http://127.0.0.1:{free_port()}"
    else:
        with web_server(answer) as url:
            yield url


@contextmanager
def lossy_proxy(server: Server) -> Iterator[str]:
    """The URL of a proxy that forwards every request but loses the first response to each."""
    asked = set()

    def answer(request: BaseHTTPRequestHandler) -> None:
        status, content = forward(request, server)
        path = request.path.partition("?")[0]
        if (request.command, path) in asked:
            request.send_response(status)
            request.end_headers()
            request.wfile.write(content)
        asked.add((request.command, path))

    with web_server(answer) as url:
        yield url


def forward(request: BaseHTTPRequestHandler, server: Server) -> tuple[int, bytes]:
    """Forward a request to the server; return the status and content of its response."""
    body = request.rfile.read(int(request.headers["Content-Length"] or 0))
    kind = {"Content-Type": request.headers["Content-Type"] or ""}
    real = requests.request(
        request.command, server.url + request.path, data=body, headers=kind, timeout=60
    )
    return real.status_code, real.content
