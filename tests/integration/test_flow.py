"""The flow on a real Prefect server with a real worker, on the small digit set."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from benchmarks.servers import free_port
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.monitoring.monitor import FOLDER
from pipeline.monitoring.state import State, state_file
from pipeline.orchestration import dag, silence
from pipeline.registry import acts
from pipeline.registry.ledger import Act, Ledger
from tests.checkout import PROJECT, Checkout
from tests.digits import make_digits
from tests.journals import START
from tests.monitored import add_answers
from tests.releases import make_release
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(900)  # the first test waits for the server and a whole run
STAGES = [
    *("backprop", "fetch", "prepare", "collect", "train", "detect", "calibrate", "export"),
    *("evaluate", "gate", "release"),
]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
LONG = 10_000  # epochs, the maximum: more than any test waits for
PAUSE = 0.5  # seconds between questions to the server, which uses the cores that the runs need
NAP = {"cmd": "echo napping $$; sleep 600"}  # a long stage that announces its start
NAPPING = r"napping \d"
Json = dict[str, Any]


class Prefect:
    """A real server with its own store, a worker, and access to the runs through the API."""

    def __init__(self, workspace: Checkout, home: Path) -> None:
        self.workspace = workspace
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        secrets = shutil.ignore_patterns("secrets")
        shutil.copytree(PROJECT / "docker", workspace.path / "docker", ignore=secrets)
        workspace.run("docker/draw-secrets").check_returncode()
        profile = tomllib.loads((workspace.path / "docker/secrets/prefect.toml").read_text())
        self.password = profile["profiles"]["checkout"]["PREFECT_API_AUTH_STRING"]
        self.session = requests.Session()
        patient = Retry(5, backoff_factor=0.5, status_forcelist=[503], allowed_methods=None)
        self.session.mount(self.url, HTTPAdapter(max_retries=patient))  # like Prefect's client
        self.session.auth = tuple(self.password.split(":"))
        workspace.environment |= {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",  # seconds, as the next
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
        }
        self.log = (home.parent / "prefect.log").open("a+")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server = self.start("server", "start")

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `prefect` with these arguments, in the workspace."""
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=self.workspace.path,
            env=self.workspace.environment,
            stdout=self.log,
            stderr=self.log,
        )
        self.processes.append(process)
        return process

    def command(self, *arguments: str) -> str:
        """Run `prefect` with these arguments and return its output."""
        result = self.workspace.run(sys.executable, "-m", "prefect", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def start_worker(self) -> None:
        """Start a worker with the documented command."""
        self.worker = self.start("worker", "start", "--pool", "local")

    def answers(self) -> bool:
        """Whether the server answers."""
        assert self.server.poll() is None, Path(self.log.name).read_text()
        try:
            return requests.get(f"{self.url}/api/health", timeout=5).ok
        except requests.RequestException:
            return False

    def get(self, path: str) -> Any:
        """The server's response to a GET request."""
        answer = self.session.get(f"{self.url}/api/{path}", timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, **query: Any) -> Any:
        """The server's response to a query."""
        if "Prefect-Csrf-Token" not in self.session.headers:
            token = self.get("csrf-token?client=tests")["token"]
            self.session.headers["Prefect-Csrf-Client"] = "tests"
            self.session.headers["Prefect-Csrf-Token"] = token
        answer = self.session.post(f"{self.url}/api/{path}", json=query, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def delete(self, path: str) -> None:
        """Delete something on the server."""
        answer = self.session.delete(f"{self.url}/api/{path}", timeout=10)
        assert answer.ok, answer.text

    def submit(self, *, deployment: str = "mnist-release/local", **parameters: Any) -> str:
        """Run a deployment as the Prefect UI does; return the run's ID."""
        deployment = self.get(f"deployments/name/{deployment}")["id"]
        untracked = {"env": {"MLFLOW_TRACKING_URI": "none"}}
        run = self.post(
            f"deployments/{deployment}/create_flow_run",
            parameters=parameters,
            job_variables=untracked,
        )
        return str(run["id"])

    def state(self, run: str) -> tuple[str, str]:
        """The name and message of a run's state."""
        state = self.get(f"flow_runs/{run}")["state"]
        return state["name"], state["message"] or ""

    def finish(self, run: str) -> tuple[str, str]:
        """Wait for a run to end; return the name and message of its state."""
        wait_until(lambda: self.get(f"flow_runs/{run}")["end_time"], pause=PAUSE)
        return self.state(run)

    def tasks(self, run: str) -> dict[str, Json]:
        """The task runs of a flow run, by name."""
        found = self.post("task_runs/filter", flow_runs={"id": {"any_": [run]}})
        return {task["name"]: task for task in found}

    def task_states(self, run: str) -> dict[str, str]:
        """The name of each task run's state, by task name."""
        return {name: task["state"]["name"] for name, task in self.tasks(run).items()}

    def logs(self, run: str, task: str | None = None) -> list[str]:
        """The log messages of a flow run or of one of its tasks."""
        query: Json = {"flow_run_id": {"any_": [run]}}
        if task:
            query["task_run_id"] = {"any_": [self.tasks(run)[task]["id"]]}
        return [entry["message"] for entry in self.post("logs/filter", logs=query)]

    def artifacts(self, run: str) -> dict[str, Json]:
        """The artifacts of a flow run, by key."""
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return {artifact["key"]: artifact for artifact in found}

    def running(self, run: str, pattern: str) -> list[psutil.Process]:
        """Wait for a log line; return the run's processes: engine, DVC, and stage."""

        def said() -> bool:
            assert not self.get(f"flow_runs/{run}")["end_time"], self.state(run)
            return any(re.search(pattern, line) for line in self.logs(run))

        wait_until(said, pause=PAUSE)
        processes = psutil.Process(self.worker.pid).children(recursive=True)
        assert len(processes) >= 3
        return [process for process in processes if "track" not in process.cmdline()]

    def stop(self) -> None:
        """Kill the worker, the server, and their child processes."""
        for process in filter(lambda process: process.poll() is None, reversed(self.processes)):
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            for child in children:
                if child.is_running():
                    child.kill()


class Webhook(ThreadingHTTPServer):
    """A server that records the events posted to it, in order."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.answer = 204
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/secret"

    def event(self, run: str) -> Json:
        """Wait for the only event about a flow run."""

        def found() -> list[Json]:
            return [event for event in self.events if event["flow_run"]["id"] == run]

        wait_until(found)
        (event,) = found()
        return event

    class Handler(BaseHTTPRequestHandler):
        """Records an event."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert isinstance(self.server, Webhook)
            self.server.events.append(json.loads(body))
            self.send_response(self.server.answer)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""


def acts_of(workspace: Checkout) -> list[Act]:
    """The acts in the ledger."""
    return [line.act for line in Ledger(workspace.files.ledger).read()]


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def prefect(
    fresh: Checkout, tmp_path_factory: pytest.TempPathFactory, webhook: Webhook
) -> Iterator[Prefect]:
    """The server, work pools, deployments, and worker, set up with the documented commands."""
    folder = tmp_path_factory.mktemp("flow")
    workspace = fresh.copy(folder / "project")
    workspace.set_params({"flow": {"retry_delay": 0.1}})
    workspace.environment["PIPELINE_WEBHOOK"] = webhook.url
    prefect = Prefect(workspace, folder / "home")
    try:
        wait_until(prefect.answers)
        pools = {"local": "process", "containers": "docker"}
        create = ("work-pool", "create", "--type")
        made = [prefect.start(*create, kind, pool) for pool, kind in pools.items()]
        assert [process.wait() for process in made] == [0, 0]
        prefect.start_worker()
        terminal = "import os, pty; os._exit(os.waitstatus_to_exitcode(pty.spawn({})))"
        deploy = [sys.executable, "-c", terminal.format(["prefect", "deploy", "--all"])]
        asked = workspace.run(*deploy, stdin=subprocess.DEVNULL)  # a prompt would fail
        assert asked.returncode == 0, asked.stdout
        yield prefect
    finally:
        prefect.stop()


@pytest.fixture(scope="module")
def released(prefect: Prefect) -> str:
    """The ID of a run from data to release, started with the documented command."""
    said = prefect.command("deployment", "run", "mnist-release/local", "--watch")
    found = re.search(r"UUID: (\S+)", said)
    assert found, said
    return found[1]


@pytest.fixture
def workspace(prefect: Prefect, released: str) -> Iterator[Checkout]:
    """The workspace of the release; restores params.yaml afterwards."""
    params = (prefect.workspace.path / "params.yaml").read_text()
    yield prefect.workspace
    (prefect.workspace.path / "params.yaml").write_text(params)


@contextmanager
def stages(workspace: Checkout, **changed: Json) -> Iterator[None]:
    """Add or replace stages in dvc.yaml within the block."""
    kept = {path: path.read_bytes() for path in workspace.path.glob("dvc.*")}
    path = workspace.path / "dvc.yaml"
    dag = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(dag | {"stages": dag["stages"] | changed}))
    try:
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def judging(workspace: Checkout) -> dict[str, Json]:
    """The stages `gate` and `release` without the dependencies that other stages make."""
    dag = yaml.safe_load((workspace.path / "dvc.yaml").read_text())["stages"]
    return {
        "gate": dag["gate"] | {"deps": []},
        "release": dag["release"] | {"deps": ["reports/gate.json"]},
    }


def test_a_deployment_runs_from_data_to_release(prefect: Prefect, released: str) -> None:
    assert prefect.state(released)[0] == "Released"
    assert re.fullmatch(r"a model with test accuracy \d+\.\d\d%", prefect.state(released)[1])
    assert prefect.task_states(released) == dict.fromkeys(STAGES, "Completed") | {
        "release": "Released"
    }
    prefect.workspace.run(
        "sh", "-c", "cd models && sha256sum --check SHA256SUMS"
    ).check_returncode()
    assert prefect.workspace.run("dvc", "status", "--quiet").returncode == 0


def test_the_task_graph_matches_the_dvc_dag(prefect: Prefect, released: str) -> None:
    tasks = prefect.tasks(released)
    names = {task["id"]: name for name, task in tasks.items()}
    shown = {
        (names[needed["id"]], name)
        for name, task in tasks.items()
        for needed in task["task_inputs"].get("wait_for", [])
    }
    drawn = prefect.workspace.run("dvc", "dag", "--dot").stdout
    assert shown == set(re.findall(r'"(\w+)" -> "(\w+)"', drawn))
    assert tasks.keys() == set(re.findall(r'"(\w+)"', drawn))


def test_a_task_logs_the_output_of_its_stage(prefect: Prefect, released: str) -> None:
    said = prefect.logs(released, "train")
    for epoch in (1, 2, 3):
        assert [line for line in said if line.startswith(f"epoch {epoch}/3  training loss")]
    whole = prefect.logs(released)
    assert not [line for line in whole if not line.strip() or "git add" in line or "push" in line]


def test_a_silent_stage_is_reported_as_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "SILENCE", 0.05)
    output, logged = ["epoch 1/30"], list[str]()
    with silence.signs_of_life("train", output, logged.append):
        wait_until(lambda: len(logged) >= 2)
    assert re.fullmatch(r"train has been running for \d+ s", logged[0])


def test_reports_become_prefect_artifacts(prefect: Prefect, released: str) -> None:
    artifacts = prefect.artifacts(released)
    reports = prefect.workspace.path / "reports"
    assert artifacts["gate"]["type"] == "markdown"
    assert artifacts["gate"]["data"] == (reports / "gate.md").read_text()
    assert artifacts["evaluation-metrics"]["type"] == "table"
    rows = json.loads(artifacts["evaluation-metrics"]["data"])
    metrics = read_json(reports / "evaluation/metrics.json")
    assert {row["metric"]: row["value"] for row in rows} == metrics
    assert artifacts["evaluation-curves"]["type"] == "image"
    assert artifacts["evaluation-curves"]["data"].startswith("data:image/png;base64,iVBOR")


def test_prefect_and_mlflow_link_to_each_other(prefect: Prefect, released: str) -> None:
    from mlflow import MlflowClient

    store = MlflowClient(f"sqlite:///{prefect.workspace.path}/mlflow.db")
    artifacts = prefect.artifacts(released)
    for part in ("training", "backprop"):
        link = re.search(r"\((\S+)\)", artifacts[f"mlflow-{part}"]["data"])
        assert link
        run = store.get_run(link[1].rpartition("/")[2])
        assert run.data.tags["prefect.flow_run.id"] == released
        assert run.data.tags["prefect.flow_run.url"] == f"{prefect.url}/runs/flow-run/{released}"
    assert "/#/models/mnist-cnn/versions/1" in artifacts["mlflow-release"]["data"]


def test_the_webhook_is_notified_of_a_release(
    prefect: Prefect, released: str, webhook: Webhook
) -> None:
    event = webhook.event(released)
    assert event["event"] == "released"
    assert event["text"].startswith("mnist-release released: a model with test accuracy ")
    assert event["flow_run"]["url"] == f"{prefect.url}/runs/flow-run/{released}"


def test_stages_that_dvc_skips_are_shown_as_cached(prefect: Prefect, workspace: Checkout) -> None:
    run = prefect.submit(targets=["prepare", "backprop"])
    assert prefect.finish(run) == ("Completed", "run: none; the others are up to date")
    assert prefect.task_states(run) == dict.fromkeys(STAGES[:3], "Cached")


def test_a_stage_runs_after_a_stage_that_it_depends_on(
    prefect: Prefect, workspace: Checkout
) -> None:
    """When the flow starts, DVC would skip the second stage."""
    given, first, second = (workspace.path / name for name in ("given", "first", "second"))
    given.write_text("before")
    copies = {
        "first": {"cmd": "cp given first", "deps": ["given"], "outs": ["first"]},
        "second": {"cmd": "cp first second", "deps": ["first"], "outs": ["second"]},
    }
    with stages(workspace, **copies):
        workspace.run("dvc", "repro", "second").check_returncode()
        given.write_text("after")
        run = prefect.submit(targets=["second"])
        assert prefect.finish(run)[0] == "Completed"
    assert prefect.task_states(run) == {"first": "Completed", "second": "Completed"}
    assert second.read_text() == "after"
    for file in (given, first, second):
        file.unlink()


def test_a_refusal_names_the_failed_criterion_and_its_margin(
    prefect: Prefect, workspace: Checkout, webhook: Webhook
) -> None:
    webhook.answer = 500  # must neither fail the run nor leak the secret URL
    model = workspace.sha256("models/mnist-cnn.onnx")
    run = prefect.submit(targets=["release"], set_params=["gate.max_model_bytes=1000"])
    name, message = prefect.finish(run)
    assert name == "Refused"
    how_much = r"model bytes .*18\d,\d{3}, .*≤ 1,000 \(18\d,\d{3} too high\)"
    assert re.search(how_much, message)
    assert "not run: release" in message
    assert prefect.get(f"flow_runs/{run}")["state"]["type"] == "FAILED"
    assert prefect.tasks(run)["gate"]["run_count"] == 1
    assert "NoneType: None" not in prefect.logs(run)
    assert "**FAILED**" in prefect.artifacts(run)["gate"]["data"]
    assert workspace.sha256("models/mnist-cnn.onnx") == model
    event = webhook.event(run)
    assert event["event"] == "refused"
    assert re.search(how_much, event["text"])
    wait_until(lambda: "PIPELINE_WEBHOOK: HTTPError" in prefect.logs(run))
    assert "secret" not in " ".join(prefect.logs(run))


def test_a_release_is_reported_even_if_another_stage_fails(
    prefect: Prefect, workspace: Checkout, webhook: Webhook
) -> None:
    with stages(workspace, broken={"cmd": "echo no luck; exit 3"}, **judging(workspace)):
        run = prefect.submit(targets=["broken", "release"], set_params=["release.looks=19"])
        name, message = prefect.finish(run)
    assert name == "Failed"
    assert message.startswith("broken: ")
    assert "; released: a model with test accuracy " in message
    assert prefect.task_states(run)["release"] == "Released"
    assert webhook.event(run)["event"] == "released"


def test_a_rollback_is_respected_by_the_deployment(prefect: Prefect, workspace: Checkout) -> None:
    """The nightly run must not promote the model again that a person took back."""
    made = make_release(workspace.files, 1)
    acts.rollback(workspace.files, 1)
    acts.rollback(workspace.files, made.number)
    with stages(workspace, **judging(workspace)):
        run = prefect.submit(targets=["release"], force=True)
        assert prefect.finish(run)[0] == "Completed"
    assert workspace.sha256("models/mnist-cnn.onnx") == made.sha256
    acts.promote(workspace.files, 1, "for the other tests")


def test_another_website_cannot_control_the_server(prefect: Prefect, released: str) -> None:
    deployment = prefect.get("deployments/name/mnist-release/local")
    order = {"name": "theirs", "flow_id": deployment["flow_id"], "entrypoint": "theirs.py:flow"}
    address = f"{prefect.url}/api/deployments/"
    elsewhere = {"Origin": "http://pages.example", "Access-Control-Request-Method": "POST"}
    asked = requests.options(address, headers=elsewhere, timeout=10)
    assert asked.status_code == 400
    assert "Access-Control-Allow-Origin" not in asked.headers
    refused = (401, 403)

    for who in (None, prefect.session.auth):  # a browser may send the password, but not the token
        form = requests.post(address, json.dumps(order), timeout=10, auth=who)  # as a form
        assert form.status_code in refused, form.text
    stranger = {"Prefect-Csrf-Client": "x", "Prefect-Csrf-Token": "x"}
    guessed = requests.post(address, json=order, headers=stranger, timeout=10)
    assert guessed.status_code in refused, guessed.text
    assert requests.get(f"{prefect.url}/api/csrf-token?client=x", timeout=10).status_code == 401
    names = [found["name"] for found in prefect.post("deployments/filter")]
    assert "theirs" not in names


def test_only_the_owner_can_read_the_password_and_git_ignores_it(prefect: Prefect) -> None:
    path = prefect.workspace.path / "docker/secrets"
    assert path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    assert (
        "docker/secrets"
        not in prefect.workspace.run("git", "status", "--porcelain", "-uall").stdout
    )
    assert len(prefect.password) > 32


def test_a_run_without_the_server_password_is_a_one_line_error(
    prefect: Prefect, workspace: Checkout
) -> None:
    environment = workspace.environment | {"PREFECT_PROFILES_PATH": os.devnull}
    result = workspace.pipeline("flow", "backprop", env=environment)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: the Prefect server at {prefect.url}/api answers 401: ")


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_the_ui_shows_runs_after_login_and_contacts_no_other_host(
    prefect: Prefect, released: str
) -> None:
    from playwright.sync_api import sync_playwright

    hosts: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: hosts.add("/".join(request.url.split("/")[:3])))
        page.goto(prefect.url)
        page.locator("input").first.fill(prefect.password)
        page.keyboard.press("Enter")
        page.wait_for_url("**/dashboard*")
        page.goto(f"{prefect.url}/runs/flow-run/{released}")
        name = prefect.get(f"flow_runs/{released}")["name"]
        page.get_by_text(name).first.wait_for()
        page.get_by_text("Released").first.wait_for()
        browser.close()
    assert hosts <= {prefect.url, f"blob:{prefect.url}"}


def test_an_unreachable_mirror_does_not_stop_independent_stages(
    prefect: Prefect, workspace: Checkout
) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}/"
    run = prefect.submit(
        targets=["prepare", "backprop"],
        force=True,
        set_params=[f"fetch.mirrors=['{unreachable}']", "fetch.retries=0"],
    )
    name, message = prefect.finish(run)
    assert name == "Failed"
    assert f"{unreachable}: ConnectionError" in "\n".join(prefect.logs(run, "fetch"))
    assert message.startswith("fetch: no mirror has train-images-idx3-ubyte.gz")
    assert prefect.task_states(run) == {
        "backprop": "Completed",
        "fetch": "Failed",
        "prepare": "NotReady",
    }
    tasks = prefect.tasks(run)
    retries = yaml.safe_load((workspace.path / "params.yaml").read_text())["flow"]["retries"]
    assert tasks["fetch"]["run_count"] == 1 + retries["fetch"]


def test_an_invalid_deployment_parameter_is_reported_before_anything_runs(
    prefect: Prefect, workspace: Checkout
) -> None:
    before = workspace.run("git", "status", "--porcelain").stdout
    run = prefect.submit(set_params=["train.epocs=2"])
    assert prefect.finish(run) == ("Failed", "'train.epocs=2': params.yaml has no train.epocs")
    assert not prefect.tasks(run)
    assert "UserError" not in "\n".join(prefect.logs(run))  # as in a traceback
    assert workspace.run("git", "status", "--porcelain").stdout == before


@pytest.mark.parametrize(
    ("targets", "set_params", "complaint"),
    [
        (["trian"], [], "dvc.yaml has no stage 'trian'"),
        (["train", ""], [], "dvc.yaml has no stage ''"),
        ([], ["flow.timeouts={trian: 5}"], "params.yaml: flow: dvc.yaml has no stage trian"),
        ([], ["flow.retries={data/raw: 5}"], "params.yaml: flow: dvc.yaml has no stage data/raw"),
    ],
)
def test_an_unknown_stage_is_named(
    targets: list[str], set_params: list[str], complaint: str
) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        dag.read_plan(Workspace(PROJECT), targets, set_params)


def test_an_unsupported_proxy_is_a_one_line_error(workspace: Checkout) -> None:
    variables = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "ALL_PROXY": "socks5://127.0.0.1:9"}
    result = workspace.pipeline("flow", env=workspace.environment | variables)
    assert result.returncode == 2
    assert re.fullmatch("error: .*SOCKS proxy.*ALL_PROXY\n", result.stderr)


def test_nothing_runs_if_the_configured_server_is_unreachable(workspace: Checkout) -> None:
    nobody = f"http://me:secret@127.0.0.1:{free_port()}/api"
    environment = workspace.environment | {"PREFECT_API_URL": nobody}
    result = workspace.pipeline("flow", env=environment)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: no Prefect server at http://127.0.0.1")
    assert "secret" not in result.stderr


def test_a_new_stage_requires_only_dvc_yaml_and_respects_its_timeout(
    prefect: Prefect, workspace: Checkout, tmp_path: Path
) -> None:
    """The command runs from another folder and finds the password of the workspace."""
    nap = {"cmd": "echo $$ > nap.pid; sleep 600", "deps": ["data/raw"]}
    with stages(workspace, nap=nap):
        flow = ["pipeline", "--workspace", str(workspace.path), "flow", "nap"]
        result = subprocess.run(
            [sys.executable, "-m", *flow, "-S", "flow.timeouts={nap: 6}"],
            cwd=tmp_path,
            env=workspace.environment | {"PYTHONPATH": str(workspace.path)},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 2
    assert "error: nap: " in result.stderr.splitlines()[-1]
    assert "Cached" in result.stderr
    assert list(tmp_path.iterdir()) == []
    pid = int((workspace.path / "nap.pid").read_text())
    assert not psutil.pid_exists(pid) or ended(psutil.Process(pid))


def test_a_run_waits_for_the_workspace_and_cancelling_frees_it(
    prefect: Prefect, workspace: Checkout
) -> None:
    before = workspace.files.params.read_text()
    with stages(workspace, nap=NAP, quick={"cmd": "echo quick"}):
        first = prefect.submit(targets=["nap"])
        processes = prefect.running(first, NAPPING)
        second = prefect.submit(targets=["quick"], set_params=["train.epochs=3"])
        name = prefect.get(f"flow_runs/{first}")["name"]
        waiting = f"the workspace is busy with flow run '{name}'"
        wait_until(lambda: any(line.startswith(waiting) for line in prefect.logs(second)))
        assert not prefect.tasks(second)
        assert waiting in workspace.pipeline("backprop").stderr
        assert workspace.files.params.read_text() == before

        prefect.post(f"flow_runs/{first}/set_state", state={"type": "CANCELLING"})
        wait_until(lambda: all(map(ended, processes)))
        assert prefect.finish(second)[0] == "Completed"
        assert prefect.finish(first)[0] == "Cancelled"
    assert workspace.files.params.read_text() != before


def test_a_killed_worker_leaves_nothing_running_and_the_next_run_resumes(
    prefect: Prefect, workspace: Checkout
) -> None:
    first = prefect.submit(targets=["train"], set_params=[f"train.epochs={LONG}"])
    processes = prefect.running(first, "epoch 2/")  # the state after the first is on disk
    prefect.worker.kill()
    prefect.worker.wait()
    wait_until(lambda: all(map(ended, processes)))
    assert prefect.finish(first)[0] == "Crashed"

    prefect.start_worker()
    second = prefect.submit(targets=["train"])
    processes = prefect.running(second, "training loss")
    resumed = [line for line in prefect.logs(second, "train") if "resuming after epoch" in line]
    assert resumed
    psutil.Process(prefect.worker.pid).children()[0].kill()
    wait_until(lambda: all(map(ended, processes)))
    assert prefect.finish(second)[0] == "Crashed"


def test_ctrl_c_ends_a_run_and_its_temporary_server(workspace: Checkout) -> None:
    environment = {
        name: value
        for name, value in workspace.environment.items()
        if not name.startswith("PREFECT_")
    }
    nowhere = f"http://127.0.0.1:{free_port()}"  # a proxy that must be bypassed
    environment |= {"http_proxy": nowhere, "HTTP_PROXY": nowhere, "no_proxy": "", "NO_PROXY": ""}
    environment["PREFECT_PROFILES_PATH"] = os.devnull  # no password has been generated
    with stages(workspace, nap=NAP):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "flow", "nap"],
            cwd=workspace.path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        server = ""
        for line in process.stderr:
            if found := re.search(r"temporary server on (http://127\.0\.0\.1:\d+)", line):
                server = found[1]
            if re.search(NAPPING, line):
                break
    asked = requests.get(f"{server}/api/admin/version", timeout=10)
    assert asked.status_code == 401  # it requires a password
    processes = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole process group
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    wait_until(lambda: all(map(ended, processes)))
    with closing(sqlite3.connect(workspace.path / ".prefect/prefect.db")) as store:
        assert store.execute("SELECT state_name FROM flow_run").fetchall() == [("Crashed",)]


def test_two_thousand_noisy_images_are_one_alert_one_review_and_no_retraining(
    prefect: Prefect, workspace: Checkout
) -> None:
    classifier = Classifier(workspace.path / "models/mnist-cnn.onnx", threads=1)
    journal, (digits, _) = workspace.path / "watched", make_digits(2000, seed=9)
    noise = np.random.default_rng(9).normal(0, 60, digits.shape)
    noisy = (digits + noise).clip(0, 255).astype(np.uint8)

    def watch() -> tuple[str, str]:
        parameters = {"journal": "watched", "window": 200, "enough_labels": 50}
        return prefect.finish(prefect.submit(deployment="monitor/monitor", **parameters))

    def events() -> list[Json]:
        query = {"event": {"name": [f"mnist.{kind}" for kind in ("drift.found", "labels.enough")]}}
        return list(prefect.post("events/filter", filter=query)["events"])

    assert watch()[0] == "Failed"  # there is no journal
    add_answers(journal, classifier, noisy[:1000])
    assert watch()[0] == "Found"
    wait_until(events)
    (event,) = events()
    assert event["event"] == "mnist.drift.found"
    assert event["resource"]["prefect.resource.id"] == "mnist.model.mnist-cnn"
    wait_until(lambda: acts_of(workspace)[-1] == Act.REVIEW)  # the event runs `retrain`
    add_answers(journal, classifier, noisy[1000:], START + timedelta(days=1))
    assert watch()[0] == "Found"
    state = State.read(state_file(workspace.path / FOLDER))
    assert (state.judged, state.alarms) == (10, 10)
    assert [found["id"] for found in events()] == [event["id"]]
    retrain = prefect.get("deployments/name/retrain/retrain")["id"]
    run = prefect.post(f"deployments/{retrain}/create_flow_run")["id"]
    assert prefect.finish(run)[0] == "Waiting"
    assert acts_of(workspace).count(Act.REVIEW) == 1
    assert Act.RETRAIN not in acts_of(workspace)


def test_a_run_that_its_worker_took_and_did_not_start_frees_the_deployment(
    prefect: Prefect, workspace: Checkout
) -> None:
    """As if the worker was killed after each of the two states that it sets."""
    automation = yaml.safe_load((workspace.path / "docker/automation.yaml").read_text())
    automation["trigger"]["within"] = 10.0  # seconds, the minimum
    made = prefect.post("automations/", **automation)["id"]

    def take(deployment: str, *states: str) -> str:
        """Set these states of a new run, as a worker does; the run."""
        identifier = prefect.get(f"deployments/name/{deployment}")["id"]
        later = {"scheduled_time": "2100-01-01T00:00:00Z"}  # no worker takes it by itself
        scheduled = {"type": "SCHEDULED", "state_details": later}
        run = prefect.post(f"deployments/{identifier}/create_flow_run", state=scheduled)["id"]
        for name in states:
            state = {"type": "PENDING", "name": name}
            prefect.post(f"flow_runs/{run}/set_state", state=state)
        return str(run)

    taken = {"monitor/monitor": ["Pending"], "retrain/retrain": ["Pending", "Submitting"]}
    try:
        lost = [take(deployment, *states) for deployment, states in taken.items()]
        assert [prefect.state(run)[0] for run in lost] == ["Pending", "Submitting"]
        others = [take(deployment, "Pending") for deployment in taken]
        assert [prefect.state(run)[0] for run in others] == ["Cancelled", "AwaitingConcurrencySlot"]
        prefect.delete(f"flow_runs/{others[1]}")  # it would run soon
        wait_until(lambda: {prefect.state(run)[0] for run in lost} == {"Crashed"})
        again = [take(deployment, "Pending") for deployment in taken]
        assert [prefect.state(run)[0] for run in again] == ["Pending", "Pending"]
        for run in again:
            prefect.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLED"})
    finally:
        prefect.delete(f"automations/{made}")
