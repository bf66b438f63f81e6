"""The HTTP service as its clients see it: a real process, real clients, and all that they send."""

import asyncio
import io
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
import tritonclient.http as triton
from numpy.typing import ArrayLike
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from benchmarks.servers import free_port
from pipeline.serving import Classifier
from pipeline.serving.classifier import Predictions
from pipeline.serving.service.app import create_app
from pipeline.serving.service.guard import Limits
from pipeline.serving.service.metrics import Drift
from pipeline.serving.service.protocol import read_request
from tests.digits import Images, make_digits
from tests.servers import wait_until
from tests.workspace import MODEL, PROJECT, needs_model

pytestmark = needs_model
INFER = "/v2/models/mnist-cnn/infer"
SERVE = [sys.executable, "-m", "pipeline", "serve"]


class Service:
    """A process that serves the released model, and the way to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str | None) -> None:
        self.process, self.port = process, port
        self.address = f"127.0.0.1:{port}"
        self.session = requests.Session()
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **options: Any) -> requests.Response:
        """Get a path."""
        return self.session.get(f"http://{self.address}{path}", timeout=60, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        """Post a body to a path."""
        return self.session.post(f"http://{self.address}{path}", body, timeout=60, **options)

    def infer(self, **content: Any) -> requests.Response:
        """Post JSON to the inference route."""
        return self.post(INFER, json.dumps(content))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextmanager
def serving(log: Path, *arguments: str, token: str | None = None) -> Iterator[Service]:
    """Start the service on a free port, and kill it at the end; its log goes to a file."""
    port = free_port()
    environment = os.environ | ({"PIPELINE_SERVE_TOKEN": token} if token else {})
    with log.open("w") as file:
        process = subprocess.Popen(
            [*SERVE, "--port", str(port), *arguments], cwd=PROJECT, env=environment, stderr=file
        )
    service = Service(process, port, token)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return service.get("/v2/health/ready").ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(answers)
        yield service
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "log"


@pytest.fixture(scope="module")
def service(log: Path) -> Iterator[Service]:
    with serving(log) as service:
        yield service


def png(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def images_input(images: Images, **changes: Any) -> dict[str, Any]:
    """The images as an input of the Open Inference Protocol."""
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "UINT8"}
    return tensor | {"data": images.ravel().tolist()} | changes


# the Open Inference Protocol


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_tritons_client_gets_what_the_library_gives(
    service: Service, ten: Images, binary_input: bool, binary_output: bool
) -> None:
    client = triton.InferenceServerClient(service.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mnist-cnn")
    assert service.get("/v2/health/live").json() == {"live": True}  # where KServe's looks
    assert service.get("/v2/models/mnist-cnn/ready").json() == {"name": "mnist-cnn", "ready": True}
    tensor = triton.InferInput("images", list(ten.shape), "UINT8")
    tensor.set_data_from_numpy(ten, binary_data=binary_input)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary_output)
        for name in ("probabilities", "logits")
    ]
    result = client.infer("mnist-cnn", [tensor], outputs=wanted, request_id="seven")
    assert result.get_response()["id"] == "seven"
    expected = Classifier(MODEL, threads=1).predict(ten)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("logits"), expected.logits, atol=1e-4)
    client.close()


def test_tritons_client_with_its_defaults(service: Service, ten: Images) -> None:
    """All outputs are asked for as bytes, in the request's parameters."""
    client = triton.InferenceServerClient(service.address)
    tensor = triton.InferInput("images", list(ten.shape), "UINT8")
    tensor.set_data_from_numpy(ten)
    result = client.infer("mnist-cnn", [tensor], model_version="1")
    assert result.as_numpy("probabilities").argmax(1).tolist() == list(range(10))
    metadata = client.get_model_metadata("mnist-cnn")
    assert metadata["name"] == "mnist-cnn"
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["logits", "probabilities"]
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    client.close()


def test_plain_json_is_answered_in_json(service: Service, ten: Images) -> None:
    for data in (ten.ravel().tolist(), ten.tolist()):
        answer = service.infer(id="a", inputs=[images_input(ten, data=data)])
        assert answer.headers["content-type"] == "application/json"
        content = answer.json()
        assert (content["id"], content["model_name"]) == ("a", "mnist-cnn")
        assert [output["name"] for output in content["outputs"]] == ["logits", "probabilities"]
        for output in content["outputs"]:
            assert (output["datatype"], output["shape"]) == ("FP32", [10, 10])
            assert np.reshape(output["data"], (10, 10)).argmax(1).tolist() == list(range(10))


ONE = np.zeros((1, 28, 28), np.uint8)
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "inputs: Field required"),
    "no input": ({"inputs": []}, "inputs: List should have at least 1 item"),
    "two inputs": ({"inputs": [images_input(ONE)] * 2}, "at most 1 item"),
    "another name": (
        {"inputs": [images_input(ONE, name="x")]},
        "inputs.0.name: Input should be 'images'",
    ),
    "another type": (
        {"inputs": [images_input(ONE, datatype="FP32")]},
        "inputs.0.datatype: Input should be 'UINT8'",
    ),
    "another shape": ({"inputs": [images_input(ONE, shape=[1, 784])]}, "inputs.0.shape"),
    "negative shape": (
        {"inputs": [images_input(ONE, shape=[-1, 28, 28])]},
        "inputs.0.shape.0: Input",
    ),
    "too few": ({"inputs": [images_input(ONE, shape=[2, 28, 28])]}, "1568 numbers, not 784"),
    "huge shape": ({"inputs": [images_input(ONE, shape=[10**15, 28, 28])]}, "numbers, not 784"),
    "no data": ({"inputs": [images_input(ONE, data=None)]}, "either data, or binary_data_size"),
    "texts": ({"inputs": [images_input(ONE, data=["a"] * 784)]}, "valid integer"),
    "floats": ({"inputs": [images_input(ONE, data=[0.5] * 784)]}, "valid integer"),
    "nulls": ({"inputs": [images_input(ONE, data=[None] * 784)]}, "valid integer"),
    "truths": ({"inputs": [images_input(ONE, data=[True] * 784)]}, "valid integer"),
    "above 255": ({"inputs": [images_input(ONE, data=[256] * 784)]}, "less than or equal to 255"),
    "below 0": ({"inputs": [images_input(ONE, data=[-1] * 784)]}, "greater than or equal to 0"),
    "large number": (
        {"inputs": [images_input(ONE, data=[10**30] * 784)]},
        "less than or equal to 255",
    ),
    "ragged": ({"inputs": [images_input(ONE, data=[[[0] * 28] * 27 + [[0]]])]}, "28 items"),
    "no bytes": (
        {"inputs": [images_input(ONE, data=None, parameters={"binary_data_size": 784})]},
        "0 bytes follow the JSON",
    ),
    "both": (
        {"inputs": [images_input(ONE, parameters={"binary_data_size": 784})]},
        "both data and binary_data_size",
    ),
    "another output": (
        {"inputs": [images_input(ONE)], "outputs": [{"name": "x"}]},
        "outputs.0.name: Input should be 'logits' or 'probabilities'",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_told_what_is_wrong(service: Service, name: str) -> None:
    content, said = MALFORMED[name]
    answer = service.infer(**content)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[" * 100_000, b'{"inputs": ' * 50_000, b"\xff\xfe", b"null", b"[]", b"0"],
    ids=["empty", "text", "deep list", "deep object", "no UTF-8", "null", "list", "number"],
)
def test_what_is_no_request_at_all_is_refused(service: Service, body: bytes) -> None:
    answer = service.post(INFER, body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "999999", "9" * 50, "9" * 5000, "²"])
def test_a_wrong_length_of_the_header_is_refused(service: Service, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length.encode()}
    answer = service.post(INFER, b"{}", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_no_request_that_its_own_description_allows_ends_in_a_defect(
    service: Service, tmp_path: Path
) -> None:
    """Schemathesis makes them up, and such as are not allowed. (What size the data have depends on
    the shape, which a schema cannot say: a valid request may be refused.)"""
    command = ["run", f"http://{service.address}/openapi.json", "--max-examples=25", "--seed=1"]
    options = ["--exclude-checks=positive_data_acceptance", "--no-color"]
    tried = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), *command, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert tried.returncode == 0, tried.stdout
    assert re.search(r"Tested: \d", tried.stdout)


# pictures


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_posted_picture_is_read(service: Service, ten: Images, kind: str) -> None:
    for digit in (3, 7):
        large = Image.fromarray(255 - np.pad(ten[digit], 20)).resize((300, 300))
        file = io.BytesIO()
        large.save(file, kind)
        answer = service.post("/predict", file.getvalue())
        assert answer.status_code == 200
        content = answer.json()
        assert content["digit"] == digit
        assert content["confidence"] == max(content["probabilities"]) > 0.9
        image = np.array(content["image"], np.uint8)
        np.testing.assert_array_equal(image[None], Classifier.from_image(Image.open(file)))


def test_a_picture_may_be_taken_as_it_is(service: Service, ten: Images) -> None:
    content = service.post("/predict?normalise=false", png(ten[4])).json()
    assert content["digit"] == 4
    np.testing.assert_array_equal(content["image"], ten[4])
    answer = service.post("/predict?normalise=false", png(np.zeros((30, 40), np.uint8)))
    assert answer.status_code == 400
    assert "40 x 30 pixels are not 28 x 28" in answer.json()["error"]
    assert service.post("/predict?normalise=perhaps", png(ten[4])).status_code == 400


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff"])
def test_no_damaged_picture_ends_in_a_defect(service: Service, log: Path, kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(file, kind)
    whole, random = file.getvalue(), np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        answer = service.post("/predict", bytes(damaged[: random.integers(len(whole) + 1)]))
        assert answer.status_code in (200, 400)
        assert answer.json().keys() in (
            {"error"},
            {"digit", "confidence", "probabilities", "image"},
        )
    assert "Traceback" not in log.read_text()


def tiled(side: int) -> bytes:
    """A TIFF of 28 x 28 pixels that is one tile of a larger size."""
    tile = zlib.compress(bytes(side * side))
    tags = [(256, 28), (257, 28), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    tags += [(324, 8 + 2 + 12 * (len(tags) + 2) + 4), (325, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def test_a_picture_that_would_unpack_to_more_than_the_limit_is_refused(service: Service) -> None:
    just_more, far_more = io.BytesIO(), io.BytesIO()
    Image.new("1", (4001, 4000)).save(just_more, "PNG")
    Image.new("1", (30_000, 30_000)).save(far_more, "PNG")
    said = {"more than 16,000,000": just_more.getvalue(), "exceeds limit": far_more.getvalue()}
    for text, bomb in said.items():
        answer = service.post("/predict", bomb)
        assert answer.status_code == 400
        assert text in answer.json()["error"]
    assert service.post("/predict?normalise=false", tiled(64)).ok  # it is blank
    answer = service.post("/predict", tiled(8192))
    assert answer.status_code == 400
    assert "8192 x 8192 pixels are more than 16,000,000" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [], "outputs": [' + b"{}," * 2_000_000 + b"{}]}",
        b'{"inputs": [{"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": ['
        + b"[]," * 2_000_000
        + b"[]]}]}",
    ],
    ids=["outputs", "data"],
)
def test_millions_of_faults_are_not_listed(body: bytes) -> None:
    """Which would take minutes and gigabytes."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"outputs|data"):
        read_request(body, None)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


# limits


def test_a_body_may_not_be_too_large(service: Service) -> None:
    def pieces() -> Iterator[bytes]:  # whose number is not told before
        for _ in range(10):
            yield bytes(2**20)

    for body in (bytes(8 * 2**20 + 1), pieces()):
        with suppress(requests.ConnectionError):  # it was closed while the rest was being sent
            answer = service.post("/predict", body)
            assert answer.status_code == 413
            assert "8,388,608 bytes" in answer.json()["error"]
    assert service.metric("http_requests_total", route="/predict", status="413") == 2


def test_more_images_than_the_limit_are_refused(service: Service) -> None:
    images = np.zeros((8193, 28, 28), np.uint8)
    client = triton.InferenceServerClient(service.address, network_timeout=120)
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    with pytest.raises(triton.InferenceServerException, match="at most 8,192 images, not 8,193"):
        client.infer("mnist-cnn", [tensor])
    client.close()


def in_process(limits: Limits, classifier: Classifier | None = None) -> httpx.AsyncClient:
    """A client of the service without a process and a network between."""
    app = create_app(classifier or Classifier(MODEL, threads=1), limits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


def test_a_service_that_is_busy_says_so(ten: Images) -> None:
    async def ask() -> None:
        ready = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield png(ten[3])
            await ready.wait()

        async with in_process(Limits(requests=2)) as client:
            under_way = [asyncio.create_task(client.post("/predict", content=slow())) for _ in "12"]
            await asyncio.sleep(0.5)
            refused = await client.post("/predict", content=png(ten[3]))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "busy" in refused.json()["error"]
            assert (await client.get("/v2/health/ready")).status_code == 200
            ready.set()
            assert [(await answer).json()["digit"] for answer in under_way] == [3, 3]
            assert (await client.post("/predict", content=png(ten[3]))).json()["digit"] == 3

    asyncio.run(ask())


def test_a_place_is_taken_until_the_answer_begins_and_given_back_once(ten: Images) -> None:
    """By an answer, by a refusal and by a defect alike."""
    statuses: list[int] = []

    class Broken(Classifier):
        def predict(self, images: ArrayLike) -> Predictions:
            raise RuntimeError("broken")

    async def ask(classifier: Classifier) -> None:
        app = create_app(classifier, Limits(requests=1))

        async def post(body: bytes, then: bytes | None = None) -> None:
            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}

            async def receive() -> Message:
                return {"type": "http.request", "body": body}

            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                    if then is not None:  # while this answer is still being sent
                        await post(then)

            await app(scope | {"query_string": b"", "root_path": ""}, receive, send)

        await post(png(ten[3]), then=b"no picture")
        await asyncio.gather(post(png(ten[3])), post(png(ten[3])))

    asyncio.run(ask(Classifier(MODEL)))
    assert statuses == [200, 400, 503, 200]
    statuses.clear()
    asyncio.run(ask(Broken(MODEL)))
    assert statuses == [500, 400, 503, 500]


def test_a_head_that_does_not_end_is_cut_off(service: Service) -> None:
    address = ("127.0.0.1", service.port)
    with socket.create_connection(address, 60) as connection, suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nX-Large: ")
        for _ in range(1000):
            connection.sendall(b"A" * 10_000)
        pytest.fail("ten million bytes were taken")
    assert service.get("/v2/health/live").ok


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def ask() -> None:
        async def never() -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.sleep(60)

        async with in_process(Limits(seconds=0.2)) as client:
            answer = await client.post("/predict", content=never())
            assert answer.status_code == 408
            assert "0.2 seconds" in answer.json()["error"]

    asyncio.run(ask())


def test_a_defect_is_for_the_log_alone(ten: Images, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Classifier):
        def predict(self, images: ArrayLike) -> Predictions:
            raise RuntimeError("the secret of the house")

    async def ask() -> None:
        async with in_process(Limits(), Broken(MODEL)) as client:
            answer = await client.post("/predict", content=png(ten[3]))
            assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
            assert answer.headers["x-content-type-options"] == "nosniff"
            counted = (await client.get("/metrics")).text
            assert 'http_requests_total{method="POST",route="/predict",status="500"} 1.0' in counted

    asyncio.run(ask())
    (told,) = (record for record in caplog.records if record.exc_info)
    assert str(told.exc_info and told.exc_info[1]) == "the secret of the house"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", INFER, 405), ("DELETE", "/predict", 405),
     ("GET", "/v2/models/other", 404), ("GET", "/figures/../params.yaml", 404),
     ("GET", "/figures/..%2f..%2fparams.yaml", 404), ("GET", "/page/..%2fapp.py", 404)],
)  # fmt: skip
def test_what_is_not_there_is_told_in_json(
    service: Service, method: str, path: str, status: int
) -> None:
    answer = service.session.request(method, f"http://{service.address}{path}", timeout=60)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_every_answer_has_the_headers_that_keep_browsers_safe(service: Service) -> None:
    for answer in (service.get("/"), service.get("/v2"), service.get("/nothing"), service.infer()):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


# a token


def test_with_a_token_only_those_who_have_it_are_answered(tmp_path: Path, ten: Images) -> None:
    with serving(tmp_path / "log", token="s3cret-e") as service:
        right = {"Authorization": b"Bearer s3cret-e"}
        service.session.headers.clear()
        for path in ("/v2/models/mnist-cnn", "/metrics"):
            assert service.get(path).status_code == 401
            assert service.get(path, headers=right).ok
        for given in (None, "", "Bearer", "Bearer s3cret", "Bearer s3cret-e!", "Basic s3cret-e"):
            headers = {} if given is None else {"Authorization": given.encode()}
            answer = service.post("/predict", png(ten[1]), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert service.post("/predict", png(ten[1]), headers=right).json()["digit"] == 1
        for open_to_all in ("/", "/v2", "/v2/health/live", "/docs"):
            assert service.get(open_to_all).ok
    assert "s3cret" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("token", ["", " ", "s3cret-é", "a\nb"])
def test_a_token_that_protects_nothing_or_nobody_could_send_is_refused(token: str) -> None:
    environment = os.environ | {"PIPELINE_SERVE_TOKEN": token}
    command = [*SERVE, "--port", "0"]
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "error: PIPELINE_SERVE_TOKEN is empty" in result.stderr


# what operators see


def test_methods_that_clients_make_up_are_one_number(service: Service) -> None:
    before = service.metric("http_requests_total", method="other")
    for method in ("X0", "X1"):
        service.session.request(method, f"http://{service.address}/v2", timeout=60)
    assert service.metric("http_requests_total", method="other") == before + 2
    assert service.metric("http_requests_total", method="X0") == 0


def test_a_client_that_goes_away_is_no_defect(service: Service, log: Path) -> None:
    refused = {"route": "/predict", "status": "400"}
    before = service.metric("http_requests_total", **refused)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    wait_until(lambda: service.metric("http_requests_total", **refused) == before + 1)
    assert "Traceback" not in log.read_text()


def test_prometheus_reads_what_was_asked_and_found(service: Service, ten: Images) -> None:
    before = {
        name: service.metric(name, **labels)
        for name, labels in (
            ("http_requests_total", {"route": INFER, "status": "200"}),
            ("request_images_sum", {}),
            ("prediction_confidence_count", {}),
        )
    }
    sevens = service.metric("predicted_digits_total", digit="7")
    assert service.infer(inputs=[images_input(ten[[7, 7, 1]])]).ok
    assert service.metric("predicted_digits_total", digit="7") == sevens + 2
    assert service.metric("request_images_sum") == before["request_images_sum"] + 3
    counted = service.metric("http_requests_total", route=INFER, status="200")
    assert counted == before["http_requests_total"] + 1
    assert (
        service.metric("prediction_confidence_count") == before["prediction_confidence_count"] + 3
    )
    assert service.metric("http_request_seconds_count", route=INFER) > 0


def test_drift_tells_other_images_from_such_as_it_was_trained_on(
    mnist: tuple[Images, Images],
) -> None:
    images = np.random.default_rng(1).permutation(mnist[0])
    drift = Drift(np.quantile(images.mean((1, 2)), np.arange(1, 10) / 10).tolist())
    drift.add(images[:99])
    assert math.isnan(drift.index())  # too few
    drift.add(images[99:1000])
    assert drift.index() < 0.1
    drift.add(255 - images[:1000])
    assert drift.index() > 0.25
    drift.add(images[:3000])  # the last 1,000 count
    assert drift.index() < 0.1
    assert math.isnan(Drift([]).index())  # of a model that does not say what it was trained on


def test_each_request_is_a_line_of_json(service: Service, log: Path) -> None:
    service.get("/v2?secret=1")
    wait_until(lambda: '"/v2"' in log.read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "runs on" in lines[0]["message"]
    (last,) = [line for line in lines if line.get("path") == "/v2"][-1:]
    assert (last["method"], last["status"], last["client"]) == ("GET", 200, "127.0.0.1")
    assert last["milliseconds"] > 0
    assert "secret" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_answers_what_is_under_way(
    tmp_path: Path, ten: Images, number: signal.Signals
) -> None:
    with serving(tmp_path / "log") as service:
        body = png(ten[5])
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[:50])
            time.sleep(0.5)
            service.process.send_signal(number)
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", service.port))
            client.sendall(body[50:])
            answer = client.makefile("rb").read()
        assert b'"digit":5' in answer
        service.process.wait(60)
        assert f"stopped by {number.name}" in (tmp_path / "log").read_text()
