"""The routes that load models, MLflow's webhook, and what names the version of a model."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.files import write_text
from pipeline.core.workspace import Workspace
from pipeline.registry import acts
from pipeline.registry.releases import Releases
from pipeline.service.app import create_app
from pipeline.service.pool import ModelPool
from pipeline.service.routes.hooks import DELIVERY, SIGNATURE, TIMESTAMP, is_genuine
from pipeline.service.sources import open_model
from pipeline.service.state import Service
from pipeline.service.token import Tokens
from tests.releases import make_release, make_workspace
from tests.services import INFER, Client, client_of, images_input, make_app, png

ADMIN, SECRET = "0nly-for-admins", "webh00k"
MODELS = "/v2/repository/models/mnist-cnn"
INDEX = "/v2/repository/index"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with three releases; the third is the champion."""
    workspace = make_workspace(tmp_path)
    for variation in range(3):
        make_release(workspace, variation)
    return workspace


@contextmanager
def serve(workspace: Workspace) -> Iterator[tuple[Client, Service]]:
    """A service that looks for a new champion only when told."""
    model, source = open_model(None, workspace, seconds=0)
    tokens = Tokens(admin=ADMIN, webhook=SECRET)
    app = create_app(ModelPool(model), None, tokens, workspace, None, source)
    with client_of(app) as client:
        yield client, app.state.service


def change(client: Client, act: str, parameters: Any = None, status: int = 200) -> Any:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    content = None if parameters is None else json.dumps({"parameters": parameters})
    answer = client.post(f"{MODELS}/{act}", content, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def roles(index: Any) -> dict[int, str | None]:
    return {model["release"]: model["role"] for model in index}


def infer(client: Client, path: str) -> Any:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 0, :4] = 1, 2, 3, 4
    answer = client.post(path, json={"inputs": [images_input(image)]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_release_is_loaded_beside_the_champion(workspace: Workspace) -> None:
    versions = {r.number: r.version for r in Releases.of(workspace).all.values()}
    with serve(workspace) as (client, _):
        path = "/v2/models/mnist-cnn/versions/1"
        assert client.get(path).status_code == client.get(f"{path}/ready").status_code == 404
        assert roles(change(client, "load", {"release": 1})) == {3: "champion", 1: "loaded"}
        assert client.get(f"{path}/ready").json()["ready"]
        assert client.get(path).json()["parameters"]["release"] == 1
        listed = client.get("/v2/models/mnist-cnn").json()
        assert listed["versions"] == [versions[3], versions[1]]
        for where, number in (("", 3), ("/versions/3", 3), ("/versions/1", 1),
                              (f"/versions/{versions[1]}", 1)):  # fmt: skip
            answer = infer(client, f"/v2/models/mnist-cnn{where}/infer")
            assert answer["model_version"] == versions[number]
            assert np.argmax(answer["outputs"][0]["data"]) == number
        assert roles(change(client, "unload", {"release": 1})) == {3: "champion"}
        assert client.get(path).status_code == 404


def test_load_without_a_release_looks_for_a_new_champion(workspace: Workspace) -> None:
    with serve(workspace) as (client, _):
        acts.rollback(workspace)
        assert roles(change(client, "load")) == {2: "champion", 3: "previous"}


def test_tritons_form_of_versions_is_understood(workspace: Workspace) -> None:
    config = json.dumps({"version_policy": {"specific": {"versions": [1, 2]}}})
    with serve(workspace) as (client, _):
        loaded = {3: "champion", 1: "loaded", 2: "loaded"}
        assert roles(change(client, "load", {"config": config})) == loaded
        assert roles(change(client, "unload")) == {3: "champion"}


def test_the_index_lists_what_could_be_loaded(workspace: Workspace) -> None:
    with serve(workspace) as (client, _):
        change(client, "load", {"release": 1})
        index = client.post(INDEX).json()
        states = {model["release"]: model["state"] for model in index}
        assert states == {3: "READY", 1: "READY", 2: "UNAVAILABLE"}
        assert roles(client.post(INDEX, json={"ready": True}).json()).keys() == {1, 3}
        assert client.post(INDEX, json={"ready": "perhaps"}).status_code == 400


@pytest.mark.parametrize(
    ("act", "parameters"),
    [
        ("load", {"release": 9}),
        ("load", {"release": 0}),
        ("load", {"release": "1"}),
        ("load", {"config": "{"}),
        ("unload", {"release": 3}),  # the champion
        ("unload", {"release": 1}),  # not loaded
    ],
)
def test_what_cannot_be_loaded_or_unloaded_is_an_error(
    workspace: Workspace, act: str, parameters: Any
) -> None:
    with serve(workspace) as (client, service):
        assert change(client, act, parameters, 400)["error"]
        assert len(list(service.pool.roles.models())) == 1


def test_a_refused_release_is_an_error_and_the_index_says_why(workspace: Workspace) -> None:
    (workspace.releases / "1/metrics.json").write_text("{}")
    with serve(workspace) as (client, _):
        assert "metrics.json" in change(client, "load", {"release": 1}, 400)["error"]
        reasons = {model["release"]: model["reason"] for model in client.post(INDEX).json()}
        assert reasons[1].startswith("checksum")
        assert not reasons[2]
        assert client.metric("model_loads_total", result="refused", reason="checksum") == 1


def test_a_service_of_one_file_loads_nothing(ten: Any) -> None:
    with client_of(make_app(admin_token=ADMIN)) as client:
        assert change(client, "load", {"release": 1}, 400)["error"]


# the webhook


def sign(body: bytes, sent: str, secret: str = SECRET) -> dict[str, str]:
    content = b".".join([b"delivery", sent.encode(), body])
    digest = base64.b64encode(hmac.digest(secret.encode(), content, "sha256")).decode()
    return {DELIVERY: "delivery", TIMESTAMP: sent, SIGNATURE: f"v1,{digest}"}


def test_only_a_genuine_and_recent_message_is_accepted() -> None:
    genuine = sign(b"{}", "1000")
    assert is_genuine(SECRET, genuine, b"{}", 1000)
    assert is_genuine(SECRET, genuine, b"{}", 1200)
    assert not is_genuine(SECRET, genuine, b"{}", 1400)
    assert not is_genuine(SECRET, genuine, b"{ }", 1000)
    assert not is_genuine("other", genuine, b"{}", 1000)
    for changed in ({DELIVERY: "other"}, {TIMESTAMP: "1001"}, {TIMESTAMP: "soon"},
                    {SIGNATURE: genuine[SIGNATURE].replace("v1,", "v2,")}, {SIGNATURE: "v1,?"},
                    {SIGNATURE: ""}):  # fmt: skip
        assert not is_genuine(SECRET, genuine | changed, b"{}", 1000)


def test_the_webhook_makes_the_service_look_for_a_new_champion(workspace: Workspace) -> None:
    sent = str(int(time.time()))
    with serve(workspace) as (client, service):
        acts.rollback(workspace)
        answer = client.post("/hooks/mlflow", b"{}", headers=sign(b"{}", sent, "wrong"))
        assert (answer.status_code, service.pool.champion.release) == (401, 3)
        answer = client.post("/hooks/mlflow", b"{}", headers=sign(b"{}", sent))
        assert (answer.status_code, service.pool.champion.release) == (204, 2)
    with client_of(make_app()) as client:
        answer = client.post("/hooks/mlflow", b"{}", headers=sign(b"{}", sent))
        assert answer.status_code == 404


# the version


def test_answer_log_line_and_metrics_name_the_version(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline.service.access")
    versions = {r.number: r.version for r in Releases.of(workspace).all.values()}
    picture = np.zeros((28, 28), np.uint8)
    picture[4:24, 13:15] = 255
    with serve(workspace) as (client, _):
        change(client, "load", {"release": 1})
        caplog.clear()
        assert client.post("/predict", png(picture)).json()["version"] == versions[3]
        infer(client, "/v2/models/mnist-cnn/versions/1/infer")
        infer(client, INFER)
        lines = [vars(record) for record in caplog.records if record.name.endswith("access")]
        assert [(line["version"], line["release"]) for line in lines] == [
            (versions[number], number) for number in (3, 1, 3)
        ]
        for number, count in ((1, 1), (3, 2)):
            version = versions[number]
            assert client.metric("request_images_count", version=version) == count
            assert client.metric("verdicts_total", version=version) == count
        assert client.metric("model_champion", version=versions[3], release="3") == 1


def test_the_page_shows_figures_of_the_release_that_is_served(workspace: Workspace) -> None:
    for number in (2, 3):
        write_text(workspace.releases / str(number) / "curves.png", f"curves of {number}")
    write_text(workspace.evaluation_reports / "curves.png", "curves of a refused candidate")
    for number in (2, 3):
        release = Releases.of(workspace).find(number)
        (release.folder / "SHA256SUMS").unlink()
        acts.seal(release.folder)
    version = Releases.of(workspace).find(3).version
    with serve(workspace) as (client, _):
        page = client.get("/").text
        assert f'data-version="{version}"' in page
        assert "release 3" in page
        assert client.get("/figures/curves.png").text == "curves of 3"
        assert client.get("/figures/metrics.json").status_code == 200
        acts.rollback(workspace)
        change(client, "load")
        assert client.get("/figures/curves.png").text == "curves of 2"
        assert client.get(f"/figures/curves.png?version={version}").text == "curves of 3"
        assert client.get("/figures/curves.png?version=1").status_code == 404
        assert client.get("/figures/answers.json").status_code == 404
