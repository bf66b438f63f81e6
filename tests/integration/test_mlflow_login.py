"""MLflow's server as the stack starts it: nobody registers a model without the password."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.servers import free_port
from tests.checkout import PROJECT, python
from tests.servers import wait_until

CREATE = "api/2.0/mlflow/registered-models/create"


class Server:
    """The server with the paths of its container in a folder, on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        others = shutil.ignore_patterns("secrets")
        shutil.copytree(PROJECT / "docker", folder / "docker", ignore=others)
        subprocess.run([folder / "docker/draw-secrets"], check=True)
        drawn = folder / "docker/secrets/mlflow.env"
        self.login = dict(line.split("=", 1) for line in drawn.read_text().split())
        self.url = f"http://127.0.0.1:{free_port()}"
        script = folder / "docker/service"
        text = script.read_text()
        for name, place in {
            "/tmp/": f"{folder}/",  # first: the others may contain it
            "/data/": f"{folder}/",
            "/run/secrets/mlflow_login": drawn,
            "0.0.0.0 --workers 2": f"127.0.0.1 --workers 1 --port {self.url.rpartition(':')[2]}",
        }.items():
            assert name in text
            text = text.replace(name, str(place))
        script.write_text(text)
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.core.supervisor", str(script), "mlflow"],
                cwd=folder,
                env=os.environ
                | {
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONPATH": str(PROJECT),
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                stdin=subprocess.PIPE,  # closes when this process ends, for whatever reason
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def healthy(self) -> bool:
        """Whether the server answers health checks, which need no login."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        wait_until(server.healthy)
        yield server
    finally:
        os.killpg(server.process.pid, signal.SIGTERM)
        server.process.communicate()


@pytest.mark.parametrize(
    "login", [None, ("pipeline", "guessed"), ("pipeline", ""), ("admin", "password1234")]
)
def test_only_health_is_open(server: Server, login: tuple[str, str] | None) -> None:
    for path in (CREATE, CREATE.replace("create", "alias"), "api/2.0/mlflow/users/create"):
        answer = requests.post(f"{server.url}/{path}", json={"name": "x"}, auth=login, timeout=10)
        assert answer.status_code == 401, path
    for path in ("", "api/2.0/mlflow/registered-models/search", "signup", "graphql"):
        answer = requests.get(f"{server.url}/{path}", auth=login, timeout=10)
        assert answer.status_code == 401, path


def test_the_variables_that_are_drawn_log_clients_in(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(server.url)
    for name in server.login:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MlflowException, match="401"):
        client.create_registered_model("mnist-cnn")
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    client.create_registered_model("mnist-cnn")
    run = client.create_run("0").info
    source = f"{run.artifact_uri}/model"
    version = client.create_model_version("mnist-cnn", source, run.run_id)
    client.set_registered_model_alias("mnist-cnn", "champion", version.version)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with pytest.raises(MlflowException, match="401"):
        client.set_registered_model_alias("mnist-cnn", "champion", "1")
    with pytest.raises(MlflowException, match="401"):
        client.get_model_version_by_alias("mnist-cnn", "champion")


def test_a_command_without_the_password_says_so_in_a_line(server: Server, tmp_path: Path) -> None:
    picture = str(PROJECT / "docs/images/digit.png")
    command = ["-m", "pipeline", "predict", "--model", "models:/mnist-cnn@champion", picture]
    result = python(tmp_path, *command, MLFLOW_TRACKING_URI=server.url)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "authenticated" in line


def test_no_password_is_in_the_log_or_on_a_command_line(server: Server) -> None:
    password = server.login["MLFLOW_TRACKING_PASSWORD"]
    assert password not in server.log.read_text()
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert password not in shown.stdout
