"""MLflow as a projection of files: with a server that answers, hangs, dies, forgets or is wrong."""

import copy
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import requests
import yaml
from safetensors.numpy import load_file

from benchmarks.servers import free_port
from pipeline.config import load_params
from pipeline.core import paths
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import read_csv, read_json, sha256, write_json
from pipeline.inference import Classifier
from pipeline.stages import gate, release
from pipeline.tracking import Part, background, links
from tests.servers import wait_until
from tests.workspace import PROJECT, Workspace

if TYPE_CHECKING:  # slow to import, so only the tests themselves do
    from mlflow.entities import Run

pytestmark = pytest.mark.timeout(600)  # the first test waits for two trainings and two servers
EPOCHS = 8
HISTORY = "reports/train/history.csv"
PER_EPOCH = [HISTORY, "reports/train/system.csv", "reports/evaluation/curves.csv"]
MISSED = "run `python -m pipeline track` later"
LINKS = "artifacts/mlflow.json"
FLOW_RUN = {"id": "0199-4a", "url": "http://127.0.0.1:4200/runs/flow-run/0199-4a"}


class Server:
    """A real `mlflow server` with a store of its own, and what its clients see there."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = MlflowClient(self.url)
        self.start()

    def start(self) -> None:
        """Start the process, on the same port and store each time; `wait` for it."""
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
                stdin=subprocess.PIPE,  # however this process ends, the other side sees it
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when it answers."""

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
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def runs(self, experiment: str) -> "list[Run]":
        """The runs that an experiment shows."""
        found = self.client.get_experiment_by_name(experiment)
        return list(self.client.search_runs([found.experiment_id])) if found else []

    def run(self, experiment: str = "mnist-cnn") -> "Run":
        """The only run that an experiment shows."""
        (run,) = self.runs(experiment)
        return run

    def points(self, run: "Run", metric: str) -> list[tuple[float, float]]:
        """Step and value of each point of a metric."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def page(self, run: "Run") -> str:
        """The address at which MLflow shows a run to people."""
        return f"{self.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"

    def artifacts(self, run: "Run", folder: str | None = None) -> set[str]:
        """The paths of a run's artifacts."""
        entries = self.client.list_artifacts(run.info.run_id, folder)
        inner = (self.artifacts(run, entry.path) for entry in entries if entry.is_dir)
        return {entry.path for entry in entries if not entry.is_dir}.union(*inner)

    def content(self) -> list[str]:
        """Every row of its store, and every artifact with the time at which it was written."""
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


Copy = Callable[..., Workspace]


@pytest.fixture(scope="module")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copies a workspace as it is now to a folder of its own; takes changes of environment."""

    def copy_of(workspace: Workspace, **environment: str) -> Workspace:
        twin = copy.copy(workspace)
        twin.path = tmp_path_factory.mktemp("copy") / "project"
        twin.environment = workspace.environment | environment
        shutil.copytree(workspace.path, twin.path)
        return twin

    return copy_of


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Workspace:
    """Ready for a training of a few seconds, tracked by the server."""
    workspace = Workspace(tmp_path_factory.mktemp("prepared") / "project")
    workspace.environment["MLFLOW_TRACKING_URI"] = server.url
    workspace.set_params(
        {
            "backprop": {"updates": 400},  # more metrics than fit in one request
            "train": {"epochs": EPOCHS, "batch_size": 20, "validation_size": 1200},
            "gate": {"min_accuracy": 0.5},
        }
    )
    for stage in ("fetch", "prepare"):
        workspace.pipeline(stage).check_returncode()
    server.wait()
    return workspace


@pytest.fixture(scope="module")
def untracked_weights(prepared: Workspace, copy_of: Copy) -> str:
    """The digest of the weights that training ends in when nothing is tracked."""
    workspace = copy_of(prepared, MLFLOW_TRACKING_URI="none")
    workspace.pipeline("train").check_returncode()
    return workspace.sha256("artifacts/weights.safetensors")


@pytest.fixture(scope="module")
def released(prepared: Workspace, server: Server, copy_of: Copy) -> Workspace:
    """The server died in mid-training; the release was made without it; now it is back."""
    workspace = copy_of(prepared)
    with paused_training(workspace) as training:
        wait_until(lambda: server.runs("mnist-cnn"))
        server.kill()
        ends_well_but_untracked(training)
    for stage in ("export", "evaluate", "gate"):
        workspace.pipeline(stage).check_returncode()
    ends_well_but_untracked(start(workspace, "release"))
    server.start()
    server.wait()
    track(workspace)
    return workspace


def test_a_run_is_complete_though_the_server_died_in_its_middle(
    released: Workspace, server: Server, untracked_weights: str
) -> None:
    run = server.run()
    assert released.sha256("artifacts/weights.safetensors") == untracked_weights
    assert run.info.status == "FINISHED"
    recipe = yaml.safe_load((released.path / "params.yaml").read_text())["train"]
    assert run.data.params == {name: str(value) for name, value in recipe.items()}
    for table in PER_EPOCH:
        shows_every_epoch_once(server, run, released.path / table)
    accuracy = read_json(released.path / "reports/evaluation/metrics.json")["accuracy"]
    assert run.data.metrics["evaluation/accuracy"] == accuracy


def test_a_run_says_what_it_was_made_from_and_when(released: Workspace, server: Server) -> None:
    run = server.run()
    commit = released.run("git", "rev-parse", "HEAD").stdout.strip()
    data_digest = released.sha256("data/train.safetensors")
    expected = {
        "data_sha256": data_digest,
        "weights_sha256": released.sha256("artifacts/weights.safetensors"),
        "code_sha256.training": released.sha256("pipeline/training/trainer.py"),
        "mlflow.source.git.commit": f"{commit}-dirty",  # params.yaml is changed
        "hardware.cores": str(os.cpu_count()),
        "version.python": sys.version.split()[0],
        "gate": "passed",
    }
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert data_digest.startswith(data.dataset.digest)
    summary = read_json(released.path / "reports/train/summary.json")
    started = datetime.fromisoformat(summary["started"]).timestamp()
    assert run.info.start_time == round(1000 * started)
    assert run.info.end_time == round(1000 * (started + summary["seconds"]))


def test_a_run_has_the_figures_and_reports(
    released: Workspace, server: Server, tmp_path: Path
) -> None:
    run = server.run()
    assert server.artifacts(run) >= {
        "params.yaml",
        "reports/prepare/samples.png",
        HISTORY,
        "reports/evaluation/curves.png",
        "reports/evaluation/confusion.png",
        "reports/evaluation/misclassified.png",
        "reports/gate.md",
    }
    name = "reports/evaluation/confusion.png"
    copied = Path(server.client.download_artifacts(run.info.run_id, name, str(tmp_path)))
    assert copied.read_bytes() == (released.path / name).read_bytes()


def test_a_release_made_while_the_server_was_away_is_its_champion(
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
    assert signature.outputs.input_names() == ["logits", "probabilities"]
    assert model.predict(model.input_example)["probabilities"].shape == (1, 10)
    expected = load_file(released.path / "expected.safetensors")
    digits = model.predict(expected["images"])["logits"].argmax(1)
    accuracy = read_json(released.path / "reports/evaluation/metrics.json")["accuracy"]
    assert (digits == expected["labels"]).mean() == accuracy


@pytest.mark.parametrize("which", ["@champion", "/1"])
def test_the_classifier_reads_digits_with_the_registered_model(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    classifier = Classifier(f"models:/mnist-cnn{which}")
    assert classifier.sha256 == sha256(released.path / "models/mnist-cnn.onnx")
    expected = load_file(released.path / "expected.safetensors")
    digits = classifier.predict(expected["images"]).digits
    accuracy = read_json(released.path / "reports/evaluation/metrics.json")["accuracy"]
    assert (digits == expected["labels"]).mean() == accuracy


def test_the_classifier_refuses_another_file_than_was_registered(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    right = server.client.get_model_version("mnist-cnn", "1").tags["sha256"]
    server.client.set_model_version_tag("mnist-cnn", "1", "sha256", "0" * 64)
    try:
        with pytest.raises(UserError, match=f"{right}, not {'0' * 64}"):
            Classifier("models:/mnist-cnn/1")
    finally:
        server.client.set_model_version_tag("mnist-cnn", "1", "sha256", right)


@pytest.mark.parametrize("which", ["mnist-cnn@nobody", "mnist-cnn/99", "another@champion"])
def test_a_model_that_is_not_registered_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    with pytest.raises(UserError, match=f"^models:/{which} cannot be had: MLflow at http"):
        Classifier(f"models:/{which}")


def test_tracking_again_changes_nothing(released: Workspace, server: Server) -> None:
    before = server.content(), links_in(released)
    track(released)
    assert (server.content(), links_in(released)) == before


@pytest.mark.parametrize("ending", ["", "/"])
def test_links_lead_to_what_the_server_shows(
    released: Workspace, server: Server, copy_of: Copy, ending: str
) -> None:
    workspace = copy_of(released, MLFLOW_TRACKING_URI=server.url + ending)
    (workspace.path / LINKS).unlink()
    track(workspace)
    (version,) = server.client.search_model_versions("name = 'mnist-cnn'")
    assert links_in(workspace) == {
        "training": server.page(server.run()),
        "release": f"{server.url}/#/models/mnist-cnn/versions/{version.version}",
    }


def test_links_have_the_address_that_people_reach(
    released: Workspace, server: Server, copy_of: Copy
) -> None:
    people = "https://user:secret@mlflow.example"
    variables = {"MLFLOW_TRACKING_URI": server.url, "PIPELINE_MLFLOW_URL": people}
    workspace = copy_of(released, **variables)
    (workspace.path / LINKS).unlink()
    track(workspace)
    page = server.page(server.run()).removeprefix(server.url)
    assert links_in(workspace)["training"] == f"https://mlflow.example{page}"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_opens_what_the_links_lead_to(
    released: Workspace, server: Server, tmp_path: Path
) -> None:
    name = server.run().info.run_name  # on its own page, and on that of the model as its source

    def shown(address: str) -> str:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        command = ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    for link in links_in(released).values():
        assert name in shown(link)
    assert name not in shown(server.page(server.run()) + "0")


def test_a_link_is_given_to_nothing_but_what_was_published(
    released: Workspace, copy_of: Copy
) -> None:
    workspace = copy_of(released)
    assert MISSED not in workspace.pipeline("backprop").stderr
    known = links_in(workspace)
    assert known.keys() == {"backprop", "training", "release"}
    for part, name, old, new in (
        ("backprop", "reports/backprop/summary.json", b'"first_loss": 0', b'"first_loss": 1'),
        ("training", "reports/train/summary.json", b'"run_id": "', b'"run_id": "f'),
        ("release", "models/mnist-cnn.onnx", b"logits", b"LOGITS"),
    ):
        path = workspace.path / name
        content = path.read_bytes()
        others = {other: link for other, link in known.items() if other != part}
        path.unlink()
        assert links_in(workspace) == others
        path.write_bytes(content.replace(old, new))
        assert links_in(workspace) == others
        path.write_bytes(content)
        assert links_in(workspace) == known


def test_a_link_to_a_training_stays_while_it_is_the_same_training(
    released: Workspace, copy_of: Copy
) -> None:
    """Its summary changes with each epoch."""
    workspace = copy_of(released)
    path = workspace.path / "reports/train/summary.json"
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "unfinished"'))
    assert read_json(path)["status"] == "unfinished"
    assert links_in(workspace)["training"] == links_in(released)["training"]


def test_a_training_leads_to_its_flow_run_also_when_it_is_published_after_it(
    released: Workspace, prepared: Workspace, server: Server, copy_of: Copy
) -> None:
    workspace = copy_of(prepared, MLFLOW_EXPERIMENT_NAME="in a flow run", **in_flow_run(FLOW_RUN))
    workspace.set_params({"train": {"epochs": 1}})
    assert MISSED not in workspace.pipeline("train").stderr
    assert flow_run(server.run("in a flow run")) == FLOW_RUN
    later = copy_of(prepared, MLFLOW_EXPERIMENT_NAME="after it")
    shutil.copytree(workspace.path / "reports", later.path / "reports", dirs_exist_ok=True)
    track(later)
    assert flow_run(server.run("after it")) == FLOW_RUN
    another = copy_of(later, **in_flow_run({"id": "0199-4b", "url": "http://prefect/4b"}))
    track(another)  # as its gate does
    assert flow_run(server.run("after it")) == FLOW_RUN
    assert flow_run(server.run()) == {}  # started by hand


def test_a_backprop_run_leads_to_the_flow_run_that_published_it_last(
    prepared: Workspace, server: Server, copy_of: Copy
) -> None:
    """One run for all with the same outcome."""
    workspace = copy_of(prepared)
    assert MISSED not in workspace.pipeline("backprop").stderr
    assert flow_run(server.run("back-propagation")) == {}
    for command, made_by in (
        (["backprop"], FLOW_RUN),
        (["track", "backprop"], {"id": "0199-4b", "url": "http://prefect/4b"}),
    ):
        variables = workspace.environment | in_flow_run(made_by)
        assert MISSED not in workspace.pipeline(*command, env=variables).stderr
        assert flow_run(server.run("back-propagation")) == made_by


def test_the_backprop_stage_has_one_run_with_every_iteration_and_its_files(
    prepared: Workspace, server: Server, copy_of: Copy
) -> None:
    workspace = copy_of(prepared)
    assert MISSED not in workspace.pipeline("backprop").stderr
    run = server.run("back-propagation")
    assert run.info.status == "FINISHED"
    params = yaml.safe_load((workspace.path / "params.yaml").read_text())["backprop"]
    assert run.data.params == {name: str(value) for name, value in params.items()}
    rows = read_csv(workspace.path / "reports/backprop/history.csv")
    assert len(rows) == 401
    assert server.points(run, "E_total") == [(row["iteration"], row["E_total"]) for row in rows]
    outputs = yaml.safe_load((workspace.path / "dvc.yaml").read_text())["stages"]["backprop"][
        "outs"
    ]
    assert server.artifacts(run) == {path for output in outputs for path in output}
    assert links_in(workspace) == {"backprop": server.page(run)}
    before = server.content()
    assert MISSED not in workspace.pipeline("backprop").stderr
    assert server.content() == before


def test_the_backprop_stage_needs_no_server(prepared: Workspace, copy_of: Copy) -> None:
    with wrong_server(None) as nobody:
        workspace = copy_of(prepared, MLFLOW_TRACKING_URI=nobody)
        ends_well_but_untracked(start(workspace, "backprop"))
    assert (workspace.path / "reports/backprop/BackPropagation.xlsx").exists()
    assert links_in(workspace) == {}
    assert not (workspace.path / LINKS).exists()


def test_a_server_that_hangs_neither_stops_nor_changes_a_training(
    prepared: Workspace, server: Server, untracked_weights: str, copy_of: Copy
) -> None:
    workspace = copy_of(prepared, MLFLOW_EXPERIMENT_NAME="hang")
    with paused_training(workspace) as training:
        wait_until(lambda: server.runs("hang"))
        server.signal(signal.SIGSTOP)
        try:
            ends_well_but_untracked(training)
        finally:
            server.signal(signal.SIGCONT)
    assert workspace.sha256("artifacts/weights.safetensors") == untracked_weights
    track(workspace)
    run = server.run("hang")
    assert run.info.status == "FINISHED"
    shows_every_epoch_once(server, run, workspace.path / HISTORY)


def test_a_killed_training_is_shown_as_it_is_and_goes_on_as_the_same_run(
    released: Workspace, server: Server, copy_of: Copy
) -> None:
    workspace = copy_of(released, MLFLOW_EXPERIMENT_NAME="killed")
    workspace.set_params({"train": {"seed": 2}})

    def shown() -> list[tuple[float, float]]:
        return server.points(server.run("killed"), "training_loss")

    with paused_training(workspace) as training:
        losses = [
            (row["epoch"], row["training_loss"]) for row in read_csv(workspace.path / HISTORY)
        ]
        wait_until(lambda: server.runs("killed") and shown() == losses)
        track(workspace)
        assert server.run("killed").info.status == "RUNNING"
        assert links_in(workspace)["training"] == server.page(server.run("killed"))
        training.kill()
        training.communicate(timeout=120)  # waits for the follower, too, which has the same pipe
    assert server.run("killed").info.status == "KILLED"

    assert "resuming after epoch" in workspace.pipeline("train").stdout
    track(workspace)
    run = server.run("killed")
    assert run.info.status == "FINISHED"
    shows_every_epoch_once(server, run, workspace.path / HISTORY)
    # and nothing of the model before it, though its reports are still there
    assert not [name for name in run.data.metrics if name.startswith(("evaluation", "test"))]
    assert "gate" not in run.data.tags
    assert not [path for path in server.artifacts(run) if "evaluation" in path or "gate" in path]


def test_nothing_is_there_twice_when_answers_get_lost(
    released: Workspace, copy_of: Copy, tmp_path: Path
) -> None:
    with running_server(tmp_path) as server, forgetful(server) as url:
        server.wait()
        workspace = copy_of(
            released, MLFLOW_TRACKING_URI=url, MLFLOW_HTTP_REQUEST_BACKOFF_JITTER="0"
        )
        wait_until(lambda: workspace.pipeline("track").returncode == 0)
        run = server.run()
        assert run.info.status == "FINISHED"
        for table in PER_EPOCH:
            shows_every_epoch_once(server, run, workspace.path / table)
        (version,) = server.client.search_model_versions("name = 'mnist-cnn'")
        assert version.run_id == run.info.run_id
        (model,) = server.client.search_logged_models([run.info.experiment_id])
        assert version.source == model.model_uri
        champion = server.client.get_model_version_by_alias("mnist-cnn", "champion")
        assert champion.version == version.version


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # within MLflow
@pytest.mark.parametrize("reports", ["with its reports", "alone"])
def test_a_new_store_gets_the_release_and_moves_with_it(
    released: Workspace, copy_of: Copy, monkeypatch: pytest.MonkeyPatch, reports: str
) -> None:
    from mlflow import MlflowClient

    workspace = copy_of(released, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    if reports == "alone":
        shutil.rmtree(workspace.path / "reports")
        track(workspace)
    else:
        assert MISSED not in workspace.pipeline("release").stderr
    client = MlflowClient(f"sqlite:///{workspace.path}/mlflow.db")
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert client.get_model_version_by_alias("mnist-cnn", "champion").run_id == run.info.run_id
    assert list(workspace.path.glob("mlartifacts/**/model.onnx"))
    shown = "http://127.0.0.1:5000/#/"  # by `make mlflow`
    expected = {"release": f"{shown}models/mnist-cnn/versions/1"}
    if reports != "alone":
        page = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        expected["training"] = f"{shown}{page}"
    assert links_in(workspace) == expected
    moved = workspace.path.rename(workspace.path.with_name("moved"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}/mlflow.db")
    model = Classifier("models:/mnist-cnn@champion")
    assert model.sha256 == sha256(moved / "models/mnist-cnn.onnx")


def test_a_wrong_server_stops_neither_training_nor_release(
    released: Workspace, copy_of: Copy
) -> None:
    with wrong_server(200) as page, wrong_server(500) as broken:
        trained = copy_of(released, MLFLOW_TRACKING_URI=page)
        trained.set_params({"train": {"epochs": 1}})
        training = start(trained, "train")
        ends_well_but_untracked(start(copy_of(released, MLFLOW_TRACKING_URI=broken), "release"))
        ends_well_but_untracked(training)
    known = links_in(released)
    assert links_in(trained) == {"release": known["release"]}  # no longer to the old training


@pytest.mark.parametrize("status", [200, 500, None], ids=["a web page", "errors", "nobody"])
def test_track_says_in_one_line_that_a_server_cannot_be_used(
    released: Workspace, copy_of: Copy, status: int | None
) -> None:
    with wrong_server(status) as url:
        result = copy_of(released, MLFLOW_TRACKING_URI=url).pipeline("track")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: MLflow at {url}: ")
    assert len(result.stderr.splitlines()) == 1
    if status is None:
        assert result.stderr == f"error: MLflow at {url}: no answer (Connection refused)\n"


def test_a_registry_that_refuses_is_told(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking import publisher

    def answer(request: BaseHTTPRequestHandler) -> None:
        status, content = passed_on(request, server)
        if request.path.endswith("/registered-models/create"):
            status, content = 403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}'
        request.send_response(status)
        request.end_headers()
        request.wfile.write(content)

    monkeypatch.chdir(released.path)
    with web_server(answer) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with pytest.raises(Exception, match="PERMISSION_DENIED: not you"):
            publisher.publish([Part.RELEASE])


@pytest.fixture
def champion(
    released: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """Tells which file is the champion; afterwards it is again the one of before.

    Stages publish in this process, to the shared server.
    """
    from pipeline.tracking import publisher

    def publish(*parts: Part) -> None:
        if background.wanted():
            publisher.publish(parts or tuple(Part))

    monkeypatch.setattr(background, "publish", publish)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    client, name = server.client, "mnist-cnn"
    yield lambda: client.get_model_version_by_alias(name, "champion").tags["sha256"]
    client.set_registered_model_alias(name, "champion", "1")
    for version in client.search_model_versions(f"name = '{name}'"):
        if str(version.version) != "1":
            client.delete_model_version(name, version.version)


def model_of(clone: Workspace) -> str:
    return clone.sha256("models/mnist-cnn.onnx")


def release_another(clone: Workspace, name: str) -> str:
    """Let the stage release the model under another digest, which it gives."""
    with chdir(clone.path):
        model = onnx.load(paths.MODEL)
        model.doc_string = name
        paths.MODEL.write_bytes(model.SerializeToString())
        for report in (paths.EXPORT_REPORT, paths.SUBJECT, paths.GATE_REPORT):
            write_json(report, read_json(report) | {"model_sha256": sha256(paths.MODEL)})
        release.run(load_params())
    return model_of(clone)


def publish_all(clone: Workspace) -> None:
    from pipeline.tracking import publisher

    with chdir(clone.path):
        publisher.publish()


def test_only_a_release_moves_the_champion(
    released: Workspace, copy_of: Copy, champion: Callable[[], str]
) -> None:
    """Two clones with one server: the one with the older model does not bring it back."""
    older = copy_of(released)
    assert champion() == model_of(released)
    assert release_another(older, "older") == champion()
    newer = copy_of(older)
    assert release_another(newer, "newer") == champion()
    older.set_params({"gate": {"test_images": 1}})
    with chdir(older.path), pytest.raises(RefusedError):
        gate.run(load_params().gate)
    assert champion() == model_of(newer)
    for clone in (older, released):
        publish_all(clone)
        assert champion() == model_of(newer) != model_of(clone)


def test_of_two_releases_that_replace_the_same_model_the_first_stays(
    released: Workspace, copy_of: Copy, champion: Callable[[], str], server: Server, capsys: Any
) -> None:
    first, second = copy_of(released), copy_of(released)
    release_another(first, "first")
    assert champion() == model_of(first)
    capsys.readouterr()
    release_another(second, "second")
    assert champion() == model_of(first)
    (line,) = capsys.readouterr().err.splitlines()
    newest, stays, *_ = server.client.search_model_versions("name = 'mnist-cnn'")
    assert line.startswith(f"warning: mnist-cnn@champion stays at version {stays.version}, ")
    assert f"set_registered_model_alias('mnist-cnn', 'champion', '{newest.version}')" in line
    publish_all(second)  # nor later, and nothing is said again
    assert champion() == model_of(first)
    assert capsys.readouterr().err == ""


def test_releases_that_no_server_saw_become_champion_later(
    released: Workspace,
    copy_of: Copy,
    champion: Callable[[], str],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clone = copy_of(released)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    release_another(clone, "one")
    release_another(clone, "two")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    publish_all(clone)
    assert champion() == model_of(clone)
    server.client.set_registered_model_alias("mnist-cnn", "champion", "1")  # rolled back by hand
    publish_all(clone)
    assert champion() == model_of(released)


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


def links_in(workspace: Workspace) -> dict[str, str]:
    """Where MLflow shows what is in the workspace, by part."""
    with chdir(workspace.path):
        return links.addresses()


def in_flow_run(flow_run: dict[str, str]) -> dict[str, str]:
    """The variables with which this flow run runs its stages."""
    return {f"PIPELINE_FLOW_RUN_{name.upper()}": value for name, value in flow_run.items()}


def flow_run(run: "Run") -> dict[str, str]:
    """The flow run to which a run's tags lead."""
    prefix = "prefect.flow_run."
    tags = run.data.tags.items()
    return {name.removeprefix(prefix): value for name, value in tags if name.startswith(prefix)}


def track(workspace: Workspace) -> None:
    result = workspace.pipeline("track")
    assert (result.returncode, result.stderr) == (0, "")


def start(workspace: Workspace, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", command],
        cwd=workspace.path,
        env=workspace.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def paused_training(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A training that is stopped (SIGSTOP) in its middle, while what feeds MLflow goes on."""

    def in_its_middle() -> bool:
        path = workspace.path / "reports/train/summary.json"
        summary = read_json(path) if path.exists() else {}
        is_on = summary.get("status") == "unfinished" and summary["final"] is not None
        return is_on and bool(summary["final"]["epoch"] >= 2)

    process = start(workspace, "train")
    try:
        wait_until(in_its_middle)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def web_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a web server that answers every request so."""

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
def wrong_server(status: int | None) -> Iterator[str]:
    """The address of a server that answers a web page to everything, or of none at all."""

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
def forgetful(server: Server) -> Iterator[str]:
    """Where the server does all that it is asked to, but each first answer gets lost."""
    asked = set()

    def answer(request: BaseHTTPRequestHandler) -> None:
        status, content = passed_on(request, server)
        path = request.path.partition("?")[0]
        if (request.command, path) in asked:
            request.send_response(status)
            request.end_headers()
            request.wfile.write(content)
        asked.add((request.command, path))

    with web_server(answer) as url:
        yield url


def passed_on(request: BaseHTTPRequestHandler, server: Server) -> tuple[int, bytes]:
    """What the server answers to a request: the status and the content."""
    body = request.rfile.read(int(request.headers["Content-Length"] or 0))
    kind = {"Content-Type": request.headers["Content-Type"] or ""}
    real = requests.request(
        request.command, server.url + request.path, data=body, headers=kind, timeout=60
    )
    return real.status_code, real.content
