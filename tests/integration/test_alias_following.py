"""The service follows an alias of a real MLflow server, which reports by its webhook."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import pytest
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from benchmarks.servers import free_port, server
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.core.variables import MLFLOW_TRACKING_URI
from pipeline.core.workspace import Workspace
from pipeline.registry.lookup import MODEL_FILE
from pipeline.service.app import create_app
from pipeline.service.loading import LoadError
from pipeline.service.pool import ModelPool
from pipeline.service.sources import Alias, open_model
from pipeline.service.state import Service
from pipeline.service.token import Tokens
from tests.releases import make_release, make_workspace, stub
from tests.servers import wait_until
from tests.services import listening

NAME, ALIAS, SECRET = "mnist-cnn", "champion", "webh00k-secret"
URI = f"models:/{NAME}@{ALIAS}"
WEBHOOKS = {  # MLflow sends them to public https addresses by default
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # seconds until it notices a new webhook
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with server(command, f"{address}/health", WEBHOOKS):
        yield address


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.setenv(MLFLOW_TRACKING_URI.name, store)
    return mlflow.MlflowClient(store)


def register(client: mlflow.MlflowClient, model: Path) -> str:
    """Register an ONNX file; its version."""
    run = client.create_run("0")
    copy = model.parents[1] / "registered" / MODEL_FILE
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(model.read_bytes())
    client.log_artifact(run.info.run_id, str(copy), "model")
    source = f"{run.info.artifact_uri}/model"
    tags = {"sha256": sha256(model)}
    version = client.create_model_version(NAME, source, run.info.run_id, tags=tags).version
    return str(version)


def test_the_service_follows_an_alias(
    client: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make_workspace(tmp_path)
    release = make_release(workspace, 1)
    foreign = tmp_path / "foreign" / "model.onnx"
    stub(foreign, column=2)
    client.create_registered_model(NAME)
    ours, theirs = register(client, release.model), register(client, foreign)
    client.set_registered_model_alias(NAME, ALIAS, theirs)
    model, source = open_model(URI, workspace, seconds=0)
    assert (model.sha256, model.release) == (sha256(foreign), None)
    app = create_app(ModelPool(model), None, Tokens(webhook=SECRET), workspace, None, source)
    service: Service = app.state.service
    assert service.follower is not None

    service.follower.check()
    assert service.pool.champion is model
    client.set_registered_model_alias(NAME, ALIAS, ours)
    service.follower.check()
    assert service.pool.champion.release == 1  # from its folder, with its golden answers

    with listening(app) as port:
        moved = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
        url = f"http://127.0.0.1:{port}/hooks/mlflow"
        client.create_webhook("moved", url, [moved], secret=SECRET)
        time.sleep(1.5)
        client.set_registered_model_alias(NAME, ALIAS, theirs)
        wait_until(lambda: service.pool.champion.sha256 == sha256(foreign), 60)
        assert httpx.post(url, content=b"{}").status_code == 401

    with pytest.raises(LoadError) as caught:
        Alias(URI, Workspace(tmp_path), trust=(tmp_path / "key.pub",)).load(None)
    assert caught.value.reason == "signature"  # of a version that is no release here

    client.delete_registered_model_alias(NAME, ALIAS)
    for _ in range(2):
        service.follower.check()
    assert service.pool.champion.sha256 == sha256(foreign)
    assert len([record for record in caplog.records if "not followed" in record.message]) == 1
    with pytest.raises(UserError):
        open_model(URI, workspace)
