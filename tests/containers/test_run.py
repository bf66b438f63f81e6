"""docker/run: the pipeline in a container on a checkout, as its owner and without privileges."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import Checkout
from tests.containers.engine import engine, logs, owners, stop, with_docker
from tests.servers import wait_until

NAME = "gated-mnist-test-run"
SOMEBODY = 4711  # the user ID of a checkout's owner


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A small checkout, owned by another user if permitted."""
    workspace = with_docker(Checkout(tmp_path_factory.mktemp("run") / "checkout"))
    give(workspace.path, SOMEBODY)
    yield workspace
    engine("rm", "--force", NAME)


def give(folder: Path, user: int) -> None:
    """Change the owner of a folder, if permitted."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)


def test_the_whole_dag_runs_for_the_owner_of_the_checkout(workspace: Checkout) -> None:
    result = workspace.run("make", "repro-container")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (workspace.path / "models/mnist-cnn.onnx").exists()
    assert (workspace.path / ".dvc/cache").exists()
    assert len(owners(workspace.path)) == 1
    provenance = json.loads((workspace.path / "models/provenance.json").read_text())
    assert "unknown" not in json.dumps(provenance)  # git trusts the checkout


def test_dvc_outside_the_container_then_finds_nothing_to_do(workspace: Checkout) -> None:
    give(workspace.path, os.getuid())
    result = workspace.run("dvc", "repro")
    assert result.returncode == 0, result.stderr
    assert "Running stage" not in result.stdout
    assert "up to date" in result.stdout


def test_mlflow_outside_the_container_has_the_run_and_the_model(workspace: Checkout) -> None:
    code = """if True:
    import mlflow, numpy
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    print(mlflow.search_runs(experiment_names=["mnist-cnn"])["metrics.test_accuracy"][0])
    model = mlflow.pyfunc.load_model("models:/mnist-cnn@champion")
    print(model.predict(numpy.zeros((1, 28, 28), "uint8"))["logits"].shape)
    """
    result = workspace.run("python", "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[1] == "(1, 10)"


def test_a_killed_container_leaves_its_epochs_and_no_lock(workspace: Checkout) -> None:
    workspace.set_params({"train": {"epochs": 10_000}})  # more than any test waits for
    workspace.environment["CONTAINER_OPTIONS"] = f"--name {NAME} --rm=false"

    def train() -> "subprocess.Popen[bytes]":
        engine("rm", "--force", NAME)
        return subprocess.Popen(
            ["docker/run", "dvc", "repro", "train"],
            cwd=workspace.path,
            env=workspace.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    with train():
        wait_until(lambda: "epoch 3/" in logs(NAME), pause=0.5)
        engine("kill", NAME)
    planned = workspace.run("dvc", "repro", "--dry", "train")
    assert planned.returncode == 0, planned.stderr
    with train():
        wait_until(lambda: "resuming after epoch" in logs(NAME), pause=0.5)
        wait_until(lambda: "epoch 5/" in logs(NAME), pause=0.5)
        assert stop(NAME) == 143


def test_secrets_in_the_environment_reach_the_container(workspace: Checkout) -> None:
    code = "import os; print(os.environ['MLFLOW_TRACKING_PASSWORD'])"
    variables = {"MLFLOW_TRACKING_PASSWORD": "hidden", "CONTAINER_OPTIONS": ""}
    environment = workspace.environment | variables
    assert workspace.run("docker/run", "python", "-c", code, env=environment).stdout == "hidden\n"


def test_a_missing_image_is_an_error_that_names_the_fix(workspace: Checkout) -> None:
    environment = workspace.environment | {"CONTAINER_IMAGE": "localhost/nothing:here"}
    result = workspace.run("docker/run", "true", env=environment)
    assert result.returncode == 2
    assert "make image" in result.stderr
