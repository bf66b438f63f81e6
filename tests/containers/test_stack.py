"""docker/stack: a run with MLflow, Prefect, and a worker, each of which may be killed."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from mlflow import MlflowClient

from benchmarks.servers import free_port
from tests.checkout import Checkout
from tests.containers.engine import ENGINE, engine, inspect, logs, output_of, with_docker
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(900)
PROJECT_NAME = "gated-mnist-test"
SERVICES = ["mlflow", "prefect", "worker"]
POSTGRES = os.environ.get("POSTGRES_IMAGE", "docker.io/library/postgres:17-bookworm")
SECRETS = ["postgres_password", "mlflow.env", "prefect.toml"]
LONG = 10_000  # epochs: more than any test waits for
PAUSE = 1.0  # seconds between looks: each starts a process or asks a server with one core


class Stack:
    """The stack on a small checkout and free ports, with access to its services."""

    def __init__(self, workspace: Checkout) -> None:
        self.workspace = workspace
        mlflow, prefect = free_port(), free_port()
        self.mlflow, self.prefect = f"http://127.0.0.1:{mlflow}", f"http://127.0.0.1:{prefect}"
        workspace.environment |= {
            "COMPOSE_PROJECT_NAME": PROJECT_NAME,
            "MLFLOW_PORT": str(mlflow),
            "PREFECT_PORT": str(prefect),
            "PREFECT_API_URL": f"{self.prefect}/api",
        }
        secrets = workspace.path / "docker/secrets"
        secrets.mkdir()
        # the servers use the same cores, on which two threads would wait for each other
        (secrets / "worker.env").write_text("OMP_NUM_THREADS=1\n")

    def make(self, target: str) -> str:
        """Run a make target, which must succeed; return its output."""
        result = self.workspace.run("make", target)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def containers(self) -> dict[str, str]:
        """The names of the stack's containers, running or not, by service."""
        names = output_of("ps", "--all", "--format", "{{.Names}}").split()
        ours = re.compile(f"{PROJECT_NAME}[-_](.+)[-_]1")
        return {found[1]: name for name in names if (found := ours.fullmatch(name))}

    def kill(self, service: str) -> None:
        """Kill a service and restart it, as its restart policy does after a crash."""
        name = self.containers()[service]
        output_of("kill", name)
        wait_until(lambda: inspect("container", name)["State"]["Status"] == "exited")
        output_of("start", name)

    def healthy(self) -> bool:
        """Whether both servers answer."""
        try:
            return all(
                requests.get(url, timeout=5).ok
                for url in (f"{self.mlflow}/health", f"{self.prefect}/api/health")
            )
        except requests.RequestException:
            return False

    def submit(self, targets: list[str] | None = None, **params: Any) -> str:
        """Run the deployment `local` with these training params; return the run's ID."""
        given = {
            "targets": targets,
            "set_params": [f"train.{name}={value}" for name, value in params.items()],
        }
        words = [f"--param={name}={json.dumps(value)}" for name, value in given.items()]
        command = ["deployment", "run", "mnist-release/local", *words]
        result = self.workspace.run("prefect", *command)
        found = re.search(r"UUID: (\S+)", result.stdout)
        assert found, result.stdout + result.stderr
        return found[1]

    def get(self, path: str) -> Any:
        """Prefect's JSON response to a GET request."""
        return self.ask("GET", path).json()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Prefect's response to a request with the password and a CSRF token."""
        profile = self.workspace.path / "docker/secrets/prefect.toml"
        found = re.search('PREFECT_API_AUTH_STRING = "(.+):(.+)"', profile.read_text())
        assert found
        session = requests.Session()
        session.auth = (found[1], found[2])
        token = session.get(f"{self.prefect}/api/csrf-token?client=tests", timeout=10)
        token.raise_for_status()
        session.headers["Prefect-Csrf-Client"] = "tests"
        session.headers["Prefect-Csrf-Token"] = token.json()["token"]
        answer = session.request(method, f"{self.prefect}/api/{path}", timeout=10, **options)
        answer.raise_for_status()
        return answer

    def mlflow_login(self) -> dict[str, str]:
        """The variables with which MLflow's client logs in."""
        lines = (self.workspace.path / "docker/secrets/mlflow.env").read_text().split()
        return dict(line.split("=", 1) for line in lines)

    def state(self, run: str) -> str:
        """The name of a run's state."""
        return str(self.get(f"flow_runs/{run}")["state"]["name"])

    def finish(self, run: str) -> str:
        """Wait for a run to end; return the name of its state."""

        def ended() -> bool:
            try:
                return bool(self.get(f"flow_runs/{run}")["end_time"])
            except requests.RequestException:  # the server has been killed
                return False

        wait_until(ended, 600, pause=PAUSE)
        return self.state(run)

    def trainings(self) -> list[Any]:
        """The training runs in MLflow, newest first."""
        client = MlflowClient(self.mlflow)
        experiment = client.get_experiment_by_name("mnist-cnn")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack started by `make stack`, removed afterwards with its volumes."""
    stack = Stack(with_docker(Checkout(tmp_path_factory.mktemp("stack") / "checkout")))
    environment = pytest.MonkeyPatch()
    try:
        said = stack.make("stack")
        for name, value in stack.mlflow_login().items():
            environment.setenv(name, value)
        assert stack.mlflow in said
        assert stack.prefect in said
        yield stack
    finally:
        environment.undo()
        stack.workspace.run("docker/stack", "down", "--volumes")


@pytest.fixture(scope="module")
def lost() -> list[str]:
    """The IDs of the runs whose worker was killed, filled by a test."""
    return []


def test_make_stack_returns_once_all_services_are_healthy(stack: Stack) -> None:
    assert stack.containers().keys() == set(SERVICES)
    assert stack.healthy()
    user, password = stack.mlflow_login().values()
    for page, title in ((stack.prefect, "Prefect Server"), (stack.mlflow, "MLflow")):
        assert (
            f"<title>{title}</title>" in requests.get(page, auth=(user, password), timeout=10).text
        )
    settings = requests.get(f"{stack.prefect}/ui-settings", timeout=10).json()
    assert settings["api_url"] == f"{stack.prefect}/api"  # used by the pages
    if "podman" in ENGINE:
        for name in stack.containers().values():
            assert engine("healthcheck", "run", name).returncode == 0


def test_ports_are_local_and_containers_unprivileged(stack: Stack) -> None:
    for service, name in stack.containers().items():
        container = inspect("container", name)
        ports = container["NetworkSettings"]["Ports"] or {}
        hosts = {binding["HostIp"] for bindings in ports.values() for binding in bindings or []}
        assert hosts == (set() if service == "worker" else {"127.0.0.1"})
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["Memory"] > 0
        status = output_of("exec", name, "cat", "/proc/1/status")
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_inspecting_a_container_reveals_no_password(stack: Stack) -> None:
    secrets = stack.workspace.path / "docker/secrets"
    drawn = [(secrets / name).read_text() for name in SECRETS]
    passwords = re.findall("[0-9a-f]{48}", " ".join(drawn))
    assert len(passwords) == 4
    for name in stack.containers().values():
        content = json.dumps(inspect("container", name))
        assert not [password for password in passwords if password in content]


def test_prefect_requires_its_password(stack: Stack) -> None:
    count = f"{stack.prefect}/api/flow_runs/count"
    assert requests.post(count, json={}, timeout=10).status_code in (401, 403)
    asked = {"Origin": "http://pages.example", "Access-Control-Request-Method": "POST"}
    assert requests.options(count, headers=asked, timeout=10).status_code == 400
    assert stack.ask("POST", "flow_runs/count", json={}).json() >= 0


def test_nobody_without_the_password_can_register_a_champion(stack: Stack) -> None:
    """Neither from this machine nor from another container, which has the network alone."""
    api = f"{stack.mlflow}/api/2.0/mlflow/registered-models"
    for login in (None, ("pipeline", "guessed"), ("admin", "password1234")):
        for what in ("create", "alias"):
            answer = requests.post(f"{api}/{what}", json={"name": "x"}, auth=login, timeout=10)
            assert answer.status_code == 401
    container = stack.containers()["prefect"]
    code = (
        "import mlflow, sys\n"
        "try:\n"
        "    mlflow.MlflowClient('http://mlflow:5000').create_registered_model('x')\n"
        "except mlflow.MlflowException as error:\n"
        "    sys.exit('401' not in str(error))\n"
        "sys.exit('registered')"
    )
    assert engine("exec", container, "python", "-c", code).returncode == 0
    assert MlflowClient(stack.mlflow).search_registered_models() == []


def test_a_deployment_runs_from_data_to_release(stack: Stack) -> None:
    run = stack.submit()
    assert stack.finish(run) == "Released"
    training = stack.trainings()[0]
    assert training.data.metrics["test_accuracy"] >= 0.9
    assert training.data.tags["prefect.flow_run.url"].startswith(f"{stack.prefect}/")
    noted = json.loads((stack.workspace.path / "artifacts/mlflow.json").read_text())
    assert all(part["address"].startswith(f"{stack.mlflow}/#/") for part in noted.values())
    model = MlflowClient(stack.mlflow).get_model_version_by_alias("mnist-cnn", "champion")
    assert model.run_id == training.info.run_id


def test_written_files_belong_to_the_owner(stack: Stack) -> None:
    paths = [stack.workspace.path / name for name in ("models/mnist-cnn.onnx", "data/raw", ".dvc")]
    assert {path.stat().st_uid for path in paths} == {os.getuid()}


def test_a_worker_killed_during_a_run_starts_the_next_one(stack: Stack, lost: list[str]) -> None:
    def log() -> str:
        return logs(stack.containers()["worker"])

    lost.append(stack.submit(epochs=LONG))
    wait_until(lambda: "epoch 3/10000" in log(), pause=PAUSE)
    stack.kill("worker")
    lost.append(stack.submit(epochs=LONG))
    wait_until(lambda: "resuming after epoch" in log(), pause=PAUSE)
    stack.kill("worker")


def test_servers_killed_during_a_run_lose_no_data(stack: Stack) -> None:
    before = len(stack.trainings())
    run = stack.submit(epochs=20)
    worker = stack.containers()["worker"]
    wait_until(lambda: "epoch 3/20" in logs(worker), pause=PAUSE)
    stack.kill("prefect")
    stack.kill("mlflow")
    assert stack.finish(run) == "Released"
    wait_until(stack.healthy, pause=PAUSE)
    training = stack.trainings()[0]
    assert len(stack.trainings()) == before + 1
    history = MlflowClient(stack.mlflow).get_metric_history(training.info.run_id, "training_loss")
    assert [point.step for point in history] == list(range(1, 21))


def test_a_restarted_stack_keeps_its_data(stack: Stack) -> None:
    trainings = {run.info.run_id for run in stack.trainings()}
    stack.make("stack-down")
    assert stack.containers() == {}
    volumes = output_of("volume", "ls", "--format", "{{.Name}}").split()
    assert {f"{PROJECT_NAME}_mlflow", f"{PROJECT_NAME}_prefect"} <= set(volumes)
    stack.make("stack")
    assert {run.info.run_id for run in stack.trainings()} == trainings
    assert stack.ask("POST", "flow_runs/count", json={}).json() >= 4


def test_a_run_whose_worker_was_killed_is_shown_as_crashed(stack: Stack, lost: list[str]) -> None:
    wait_until(lambda: {stack.state(run) for run in lost} == {"Crashed"}, pause=PAUSE)


@pytest.fixture
def on_postgres(stack: Stack) -> Stack:
    """The stack with PostgreSQL."""
    if engine("image", "inspect", POSTGRES).returncode and engine("pull", POSTGRES).returncode:
        pytest.skip(f"the image {POSTGRES} is not available")
    stack.make("stack-down")
    stack.workspace.environment["COMPOSE_PROFILES"] = "postgres"
    stack.make("stack")
    del stack.workspace.environment["COMPOSE_PROFILES"]
    return stack


def test_with_postgres_both_servers_keep_their_data_there(on_postgres: Stack) -> None:
    containers = on_postgres.containers()
    assert containers.keys() == {*SERVICES, "postgres"}
    assert not inspect("container", containers["postgres"])["NetworkSettings"]["Ports"].get(
        "5432/tcp"
    )
    assert on_postgres.trainings() == []  # a new store
    on_postgres.workspace.run("rm", "-r", "reports/backprop")
    run = on_postgres.submit(targets=["backprop"])
    assert on_postgres.finish(run) == "Completed"

    def rows(database: str, table: str) -> int:
        query = f"SELECT count(*) FROM {table}"
        psql = ["psql", "--username=pipeline", f"--dbname={database}", "--tuples-only"]
        return int(output_of("exec", containers["postgres"], *psql, f"--command={query}"))

    assert rows("prefect", "flow_run") == 1
    assert rows("mlflow", "metrics") > 0
    on_postgres.make("stack-down")
    assert on_postgres.containers() == {}
