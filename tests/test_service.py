"""The HTTP service as its clients see it: a real process, real clients, and all that they send."""

import asyncio
import base64
import gzip
import io
import json
import math
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
import tritonclient.http as triton
from fastapi import FastAPI
from numpy.typing import ArrayLike
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Scope

from benchmarks.servers import free_port
from pipeline.core.errors import UserError
from pipeline.core.paths import BACKPROP, EVALUATION, METRICS, SUBJECT
from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.inference.session import cores
from pipeline.service.app import create_app
from pipeline.service.bodies import Body
from pipeline.service.guard import Guard, Limits
from pipeline.service.metrics import Drift, Metrics
from pipeline.service.protocol import (
    InputParameters,
    OutputParameters,
    RequestParameters,
    read_request,
)
from pipeline.service.server import listen, make_server, read_token, run
from tests.digits import Images, make_digits
from tests.servers import wait_until
from tests.workspace import MODEL, PROJECT, needs_model

pytestmark = needs_model
INFER = "/v2/models/mnist-cnn/infer"
FIGURES = ["curves", "confusion", "misclassified"]
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
def serving(
    log: Path, *arguments: str, token: str | None = None, **variables: str
) -> Iterator[Service]:
    """Start the service on a free port, and kill it at the end; its log goes to a file."""
    port = free_port()
    environment = os.environ | ({"PIPELINE_SERVE_TOKEN": token} if token else {}) | variables
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
    "bytes that no tensor claims": (
        {"inputs": [images_input(ONE)], "behind": b"x"},
        "either data, or binary_data_size",
    ),
    "classes": (
        {
            "inputs": [images_input(ONE)],
            "outputs": [{"name": "logits", "parameters": {"classification": 3}}],
        },
        "outputs.0.parameters.classification: it is not supported",
    ),
    "an output in shared memory": (
        {
            "inputs": [images_input(ONE)],
            "outputs": [{"name": "logits", "parameters": {"shared_memory_region": "a"}}],
        },
        "outputs.0.parameters.shared_memory_region: it is not supported",
    ),
    "an input in shared memory": (
        {"inputs": [images_input(ONE, data=None, parameters={"shared_memory_byte_size": 784})]},
        "inputs.0.parameters.shared_memory_byte_size: it is not supported",
    ),
    "another output": (
        {"inputs": [images_input(ONE)], "outputs": [{"name": "x"}]},
        "outputs.0.name: Input should be 'logits' or 'probabilities'",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_told_what_is_wrong(service: Service, name: str) -> None:
    content, said = MALFORMED[name]
    content, behind = dict(content), content.get("behind", b"")
    content.pop("behind", None)
    header = json.dumps(content).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))} if behind else {}
    answer = service.post(INFER, header + behind, headers=headers)
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
    body = json.dumps({"inputs": [images_input(ONE)]})
    answer = service.post(INFER, body, headers=headers)
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


def test_null_is_the_same_as_nothing(service: Service, ten: Images) -> None:
    tensor = images_input(ten, parameters={"binary_data_size": None, "shared_memory_region": None})
    output = {"name": "logits", "parameters": {"binary_data": None, "classification": None}}
    everything = {"id": None, "parameters": {"binary_data_output": None}}
    for nulls in (
        everything | {"inputs": [tensor], "outputs": [output]},
        {"parameters": None, "inputs": [images_input(ten, parameters=None)], "outputs": None},
        {"inputs": [images_input(ten)], "outputs": [{"name": "logits", "parameters": None}]},
    ):
        answer = service.infer(**nulls)
        assert answer.status_code == 200, answer.text
        assert np.reshape(answer.json()["outputs"][0]["data"], (10, 10)).argmax(1).tolist() == list(
            range(10)
        )


def test_what_changes_no_answer_is_left_aside(service: Service) -> None:
    ignored = {"sequence_id": 1, "sequence_start": True, "priority": 1, "timeout": 1}
    assert service.infer(inputs=[images_input(ONE)], parameters=ignored).ok


def test_what_a_request_may_add_is_described() -> None:
    for part in (InputParameters, OutputParameters, RequestParameters):
        for name, field in part.model_json_schema()["properties"].items():
            assert field.get("description"), name


def test_an_output_may_differ_from_what_the_request_says_of_all() -> None:
    outputs = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    content = {"inputs": [images_input(ONE)], "outputs": outputs}
    both = content | {"parameters": {"binary_data_output": True}}
    request = read_request(json.dumps(both).encode(), None)
    assert request.outputs == {"logits": False, "probabilities": True}
    assert not any(read_request(json.dumps(content).encode(), None).outputs.values())


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tritons_client_may_compress(service: Service, ten: Images, compression: str) -> None:
    client = triton.InferenceServerClient(service.address)
    tensor = triton.InferInput("images", list(ten.shape), "UINT8")
    tensor.set_data_from_numpy(ten)
    result = client.infer("mnist-cnn", [tensor], request_compression_algorithm=compression)
    assert result.as_numpy("probabilities").argmax(1).tolist() == list(range(10))
    client.close()


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


def test_the_example_of_the_documentation_works(service: Service) -> None:
    described = service.get("/openapi.json").json()
    (content,) = described["paths"][INFER]["post"]["requestBody"]["content"].values()
    (example,) = content["examples"].values()
    answer = service.infer(**example["value"])
    assert answer.status_code == 200
    assert np.argmax(answer.json()["outputs"][1]["data"]) == 1


def test_every_route_is_described_by_what_it_answers(service: Service) -> None:
    described = service.get("/openapi.json").json()
    tags = {tag["name"] for tag in described["tags"]}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert set(operation["tags"]) <= tags, path
            assert operation["summary"]
            assert operation["description"]
            assert "422" not in operation["responses"]  # 400 is answered
    assert "ValidationError" not in json.dumps(described)


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


def test_a_picture_without_ink_has_no_digit(service: Service) -> None:
    for blank in (np.full((280, 280), 255, np.uint8), np.zeros((28, 28), np.uint8)):
        answer = service.post("/predict", png(blank))
        assert (answer.status_code, answer.json()) == (400, {"error": "no ink found"})


def test_the_answer_may_leave_the_image_out(service: Service, ten: Images) -> None:
    content = service.post("/predict?image=false", png(ten[4])).json()
    assert content.keys() == {"digit", "confidence", "probabilities"}
    assert content["digit"] == 4


def sent_otherwise(picture: bytes) -> dict[str, tuple[str, bytes, str]]:
    """What people post instead of a file: the Content-Type, the body, what it is told to be."""
    text, form = base64.b64encode(picture), "application/x-www-form-urlencoded"
    multipart = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--x--\r\n'
    return {
        "multipart": ("multipart/form-data; boundary=x", multipart % picture, "a form"),
        "multipart, not said": ("", multipart % picture, "a form"),
        "curl -d": (form, picture.translate(None, b"\0\r\n"), "which curl's -d leaves out"),
        "a field": (form, b"file=%89PNG", "a form"),
        "JSON": ("application/json", json.dumps({"image": text.decode()}).encode(), "JSON"),
        "JSON, not said": (form, json.dumps({"image": text.decode()}).encode(), "JSON"),
        "base64": ("text/plain", text, "base64"),
        "a name": (form, b"four.png", "the name of a file"),  # curl -d without the @
        "a name of two words": ("", b"@scans/a four.JPG\n", "the name of a file"),
        "a data: URL": ("", b"data:image/png;base64," + text, "a data: URL"),
        "nothing": ("image/png", b"", "empty"),
    }


@pytest.mark.parametrize("way", sent_otherwise(b""))
def test_who_sends_a_picture_otherwise_is_told_how(service: Service, ten: Images, way: str) -> None:
    kind, body, said = sent_otherwise(png(ten[4]))[way]
    answer = service.post("/predict", body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == 400
    assert re.match(f"the body is .*{said}", answer.json()["error"])
    assert "curl --data-binary @FILE" in answer.json()["error"]


def test_of_a_file_that_is_no_picture_nobody_is_told_how_to_send_it(service: Service) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # of curl --data-binary, too
    wide = io.BytesIO()
    Image.new("1", (4001, 4000)).save(wide, "PNG")
    for body in (b"no\npicture", wide.getvalue()):
        assert "curl" not in service.post("/predict", body, headers=form).json()["error"]


def encoded(body: bytes, way: str) -> bytes:
    """A body in one of the encodings of HTTP."""
    if way == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(body) + packer.flush()
    return zlib.compress(body) if way == "deflate" else gzip.compress(body)


@pytest.mark.parametrize("way", ["gzip", "x-gzip", "GZip", "deflate", "raw deflate"])
def test_a_compressed_body_is_unpacked_within_the_limits(
    service: Service, ten: Images, way: str
) -> None:
    headers = {"Content-Encoding": way.removeprefix("raw ")}

    def post(body: bytes) -> requests.Response:
        return service.post("/predict", body, headers=headers)

    assert post(encoded(png(ten[4]), way)).json()["digit"] == 4
    bomb = post(encoded(bytes(100 * 2**20), way))
    assert (bomb.status_code, "8,388,608 bytes" in bomb.json()["error"]) == (413, True)
    for wrong in (png(ten[4]), encoded(png(ten[4]), way)[:-20], encoded(b"", way) + b"more"):
        answer = post(wrong)
        assert (answer.status_code, "of the body" in answer.text or "the body is not valid"
                in answer.text) == (400, True)  # fmt: skip


def test_of_a_bomb_no_more_than_the_limit_is_unpacked() -> None:
    bomb = Body(gzip.compress(bytes(50 * 2**20)), "gzip", most=2**20)
    tracemalloc.start()
    with pytest.raises(HTTPException, match="1,048,576 bytes"):
        bomb.unpacked()
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("way", ["br", "zstd", "gzip, gzip"])
def test_an_encoding_that_is_not_supported_is_named(service: Service, way: str) -> None:
    for path in ("/predict", INFER):
        answer = service.post(path, b"x", headers={"Content-Encoding": way})
        assert answer.status_code == 415
        assert answer.json()["error"] == f"Content-Encoding {way} is not supported"
        assert answer.headers["accept-encoding"] == "gzip, deflate, identity"


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


def test_of_an_image_the_first_fault_is_enough() -> None:
    rows = [[256] * 28] * 28
    tensor = {"name": "images", "shape": [2, 28, 28], "datatype": "UINT8", "data": [rows, rows]}
    with pytest.raises(ValueError, match="less than or equal to 255") as error:
        read_request(json.dumps({"inputs": [tensor]}).encode(), None)
    assert str(error.value).count(";") == 1  # neither flat nor nested


# limits


def test_a_body_may_not_be_too_large(service: Service) -> None:
    def pieces() -> Iterator[bytes]:  # whose number is not told before
        for _ in range(10):
            yield bytes(2**20)

    before = service.metric("http_requests_total", route="/predict", status="413")
    for body in (bytes(8 * 2**20 + 1), pieces()):
        with suppress(requests.ConnectionError):  # it was closed while the rest was being sent
            answer = service.post("/predict", body)
            assert answer.status_code == 413
            assert "8,388,608 bytes" in answer.json()["error"]
    assert service.metric("http_requests_total", route="/predict", status="413") == before + 2


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


def test_a_place_is_taken_until_the_answer_is_sent_and_given_back_once(ten: Images) -> None:
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
                elif then is not None:  # while this answer is still being sent
                    await post(then)

            await app(scope | {"query_string": b"", "root_path": ""}, receive, send)

        await post(png(ten[3]), then=png(ten[3]))
        await post(b"no picture")
        await asyncio.gather(post(png(ten[3])), post(png(ten[3])))

    asyncio.run(ask(Classifier(MODEL)))
    assert statuses == [200, 503, 400, 503, 200]
    statuses.clear()
    asyncio.run(ask(Broken(MODEL)))
    assert statuses == [500, 503, 400, 503, 500]


@contextmanager
def listening(limits: Limits, app: ASGIApp | None = None) -> Iterator[int]:
    """The service with limits of its own, in a thread of this process; its port."""
    server = make_server(app or create_app(Classifier(MODEL, threads=1), limits), limits)
    listeners = listen("127.0.0.1", 0)
    listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)  # the kernel takes no more
    thread = threading.Thread(target=server.run, args=[listeners])
    thread.start()
    try:
        yield listeners[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_a_client_that_does_not_read_holds_its_place_only_for_a_time(ten: Images) -> None:
    images = np.zeros((8192, 28, 28), np.uint8)
    binary = {"data": None, "parameters": {"binary_data_size": images.size}}
    content = json.dumps({"inputs": [images_input(images) | binary]}).encode()
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content) + images.size}\r\n"
        f"Inference-Header-Content-Length: {len(content)}\r\n\r\n"
    )
    with listening(Limits(requests=1, seconds=2)) as port, socket.socket() as client:

        def status() -> int:
            return httpx.post(f"http://127.0.0.1:{port}/predict", content=png(ten[3])).status_code

        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(head.encode() + content + images.tobytes())
        begun = client.recv(400)
        assert begun.startswith(b"HTTP/1.1 200")
        assert status() == 503
        wait_until(lambda: status() == 200)
        rest = 0
        with suppress(ConnectionError):
            while part := client.recv(2**20):
                rest += len(part)
        whole = re.search(rb"content-length: (\d+)", begun)
        assert whole is not None
        assert rest < int(whole[1]) - 1000  # it was cut off


def test_connections_that_ask_nothing_make_room_for_others() -> None:
    with listening(Limits(connections=10)) as port, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            for _ in range(30)
        ]
        idle[-1].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n")
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/v2/health/live").json() == {"live": True}
        with suppress(ConnectionError):
            assert idle[0].recv(1) == b""  # the one that was idle longest
        idle[-1].sendall(b"\r\n")
        assert idle[-1].recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a second one", "the body of a refused request"],
)
def test_a_client_that_sends_byte_by_byte_is_not_waited_for(begun: bytes) -> None:
    with (
        listening(Limits(head_seconds=0.5)) as port,
        socket.create_connection(("127.0.0.1", port), 0.05) as client,
    ):
        client.sendall(begun)

        def closed() -> bool:
            try:
                if begun:
                    client.sendall(b"A")
                return not client.recv(4096)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(closed, 60)


def test_the_bodies_of_all_requests_share_a_budget(ten: Images) -> None:
    async def ask() -> None:
        ready = asyncio.Event()
        picture = png(ten[3])

        async def slow() -> AsyncIterator[bytes]:
            yield picture
            await ready.wait()

        async with in_process(Limits(held_bytes=2 * len(picture) - 1)) as client:
            under_way = asyncio.create_task(client.post("/predict", content=slow()))
            await asyncio.sleep(0.2)
            refused = await client.post("/predict", content=picture)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            ready.set()
            assert (await under_way).json()["digit"] == 3
            for _ in range(3):  # also after a refusal the bytes are given back
                assert (await client.post("/predict", content=picture)).json()["digit"] == 3

    asyncio.run(ask())


class Waiting(Classifier):
    """A model that answers when it may."""

    def __init__(self) -> None:
        super().__init__(MODEL, threads=1)
        self.may, self.asked = threading.Event(), 0

    def predict(self, images: ArrayLike) -> Predictions:
        self.asked += 1
        self.may.wait(20)  # or a service that is broken would hang the test
        return super().predict(images)


async def busy(client: httpx.AsyncClient, model: Waiting, body: bytes) -> list[asyncio.Task[Any]]:
    """Requests that hold every thread."""
    tasks = [asyncio.create_task(client.post("/predict", content=body)) for _ in range(cores())]
    while model.asked < cores():
        await asyncio.sleep(0.01)
    return tasks


def test_a_request_waits_for_a_thread_only_for_a_time(ten: Images) -> None:
    async def ask() -> None:
        model, body = Waiting(), png(ten[3])
        async with in_process(Limits(queue_seconds=0.1), model) as client:
            under_way = await busy(client, model, body)
            refused = await client.post("/predict", content=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            model.may.set()
            assert {(await answer).status_code for answer in under_way} == {200}
            assert (await client.post("/predict", content=body)).status_code == 200

    asyncio.run(ask())


def test_nothing_is_worked_on_for_a_client_that_left(ten: Images) -> None:
    async def ask() -> None:
        model, body = Waiting(), png(ten[3])
        app = create_app(model)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            under_way = await busy(client, model, body)
            came: list[Message] = [{"type": "http.request", "body": body}]

            async def receive() -> Message:
                return came.pop() if came else {"type": "http.disconnect"}

            async def send(message: Message) -> None:
                pass

            scope: Scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
            scope.update({"query_string": b"", "root_path": ""})
            left = asyncio.ensure_future(app(scope, receive, send))
            await asyncio.sleep(0.2)
            model.may.set()
            await asyncio.gather(left, *under_way)
        assert model.asked == cores()

    asyncio.run(ask())


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


def test_who_uploads_by_another_method_is_told_which_one_works(service: Service) -> None:
    address = f"http://{service.address}/predict"
    answer = service.session.put(address, b"x", timeout=60)  # as curl --upload-file does
    assert answer.status_code == 405
    assert answer.json()["error"] == "PUT does not work here; use POST"


def test_a_misspelt_option_is_not_left_aside(service: Service, ten: Images) -> None:
    answer = service.post("/predict?normalize=false", png(ten[4]))
    assert answer.status_code == 400
    assert "normalize" in answer.json()["error"]


def test_where_get_is_head_is_too(service: Service) -> None:
    for path in ("/", "/docs", "/docs/swagger-ui.css", "/page/app.js", "/openapi.json", "/v2",
                 "/v2/health/live", "/v2/health/ready", "/v2/models/mnist-cnn", "/metrics",
                 "/v2/models/mnist-cnn/ready", "/figures/loss.svg", "/nothing"):  # fmt: skip
        answer, whole = service.session.head(f"http://{service.address}{path}"), service.get(path)
        assert (answer.status_code, answer.content) == (whole.status_code, b""), path
        assert answer.headers["content-type"] == whole.headers["content-type"]
        assert "content-length" in answer.headers
    refused = service.session.head(f"http://{service.address}/predict")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    refused = service.post("/v2", b"")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert service.metric("http_requests_total", route="/v2", method="HEAD", status="200") == 1


def test_head_has_no_body_on_any_server() -> None:
    """Some leave it to the application to leave the body out."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "HEAD", "path": "/v2", "headers": []}
    scope.update({"query_string": b"", "root_path": ""})
    asyncio.run(create_app(Classifier(MODEL, threads=1))(scope, receive, send))
    assert sent[0]["status"] == 200
    assert b"".join(message["body"] for message in sent[1:]) == b""


@pytest.mark.parametrize("length", ["x", "-5", "1.5", "²", "9" * 5000])
def test_a_length_that_is_no_number_is_no_defect(length: str) -> None:
    async def ask() -> None:
        async with in_process(Limits()) as client:
            headers = [(b"Content-Length", length.encode())]
            answer = await client.post("/predict", content=b"x", headers=headers)
            assert answer.status_code in (400, 413)

    asyncio.run(ask())


def test_a_slash_too_many_leads_to_an_address_that_works_behind_a_proxy(
    service: Service, ten: Images
) -> None:
    address = f"http://{service.address}/predict/?image=false"
    moved = service.session.post(address, png(ten[4]), allow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, "../predict?image=false")
    assert service.session.post(address, png(ten[4])).json()["digit"] == 4
    assert service.get("//example.com/").status_code == 404


def test_every_answer_has_the_headers_that_keep_browsers_safe(service: Service) -> None:
    docs = service.get("/docs")
    others = [service.get("/"), service.get("/v2"), service.get("/nothing"), service.infer()]
    for answer in (docs, *others):
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'self'", "base-uri 'none'", "form-action 'none'"} < {*policy}
        assert "frame-ancestors 'none'" in policy
        assert any("unsafe" in rule for rule in policy) is (answer is docs)
        assert "server" not in answer.headers


def test_a_service_that_nobody_configured_has_limits() -> None:
    """A client holds it up for so long, and costs so much, at most."""
    limits = Limits()
    assert (limits.body_bytes, limits.held_bytes) == (8 << 20, 256 << 20)
    assert (limits.pixels, limits.images) == (16_000_000, 8192)
    assert (limits.requests, limits.connections) == (256, 4000)
    assert (limits.head_seconds, limits.seconds, limits.queue_seconds) == (10, 30, 10)


# a token


OPEN_TO_ALL = {
    "/", "/docs", "/docs/swagger-ui.css", "/figures/{name}", "/openapi.json", "/page/app.js",
    "/v2", "/v2/health/live", "/v2/health/ready",
}  # fmt: skip


def test_a_token_protects_every_route_that_is_not_open_on_purpose(ten: Images) -> None:
    guard = create_app(Classifier(MODEL, threads=1), token="s3cret-e")
    assert isinstance(guard.app, FastAPI)
    known = {"/page": "/page/app.js", "/docs": "/docs/swagger-ui.css"}  # mounted folders
    routes = [
        (known[path] if isinstance(route, Mount) else path, method)
        for route in guard.app.routes
        for path in [getattr(route, "path", "")]
        for method in getattr(route, "methods", None) or ["GET"]
    ]
    assert {"/predict", INFER, "/metrics", "/page/app.js"} < {path for path, _ in routes}

    async def ask() -> None:
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            for path, method in [*routes, ("/nothing", "GET"), ("/v2/other", "GET")]:
                answer = await client.request(method, path)
                assert (answer.status_code != 401) == (path in OPEN_TO_ALL), path
            for sneaky in ("//predict", "/predict/", "/%70redict", "/page/../predict",
                           "/docs/..;/metrics", "/Metrics", "/v2/models/mnist-cnn/"):  # fmt: skip
                answer = await client.post(sneaky, content=png(ten[1]))
                assert answer.status_code in (401, 404, 405), sneaky
            for given in ("", "Bearer", "Bearer s3cret", "Bearer s3cret-e!", "Basic s3cret-e",
                          "s3cret-e", "Bearer s3cret-é"):  # fmt: skip
                headers = [(b"Authorization", given.encode("latin-1"))]
                answer = await client.post("/predict", content=png(ten[1]), headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            for given in ("Bearer s3cret-e", "bearer s3cret-e", "BEARER   s3cret-e "):
                headers = [(b"Authorization", given.encode())]
                answer = await client.post("/predict", content=png(ten[1]), headers=headers)
                assert answer.json()["digit"] == 1

    asyncio.run(ask())


def test_a_token_never_gets_into_the_log(tmp_path: Path, ten: Images) -> None:
    (tmp_path / "token").write_text("s3cret-e\n")
    log = tmp_path / "log"
    file = {"PIPELINE_SERVE_TOKEN_FILE": str(tmp_path / "token")}
    with serving(log, **file) as service:
        assert service.post("/predict", png(ten[1])).status_code == 401
        right = {"Authorization": b"Bearer s3cret-e"}
        assert service.post("/predict", png(ten[1]), headers=right).json()["digit"] == 1
    assert "s3cret" not in log.read_text()


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("PIPELINE_SERVE_TOKEN", "PIPELINE_SERVE_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["PIPELINE_SERVE_TOKEN", "PIPELINE_SERVE_TOKEN_FILE"])
def test_blanks_around_a_token_are_none_of_it(
    no_token: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    assert read_token() is None
    text = " open sesame \r\n"
    (tmp_path / "token").write_text(text)
    no_token.setenv(name, str(tmp_path / "token") if name.endswith("FILE") else text)
    assert read_token() == "open sesame"


@pytest.mark.parametrize("token", ["", " ", "s3cret-é", "a\nb"])
def test_a_token_that_protects_nothing_or_nobody_could_send_is_refused(
    no_token: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    no_token.setenv("PIPELINE_SERVE_TOKEN", token)
    with pytest.raises(UserError, match="PIPELINE_SERVE_TOKEN is empty, or has"):
        read_token()
    no_token.delenv("PIPELINE_SERVE_TOKEN")
    (tmp_path / "token").write_text(token)
    no_token.setenv("PIPELINE_SERVE_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(UserError, match="PIPELINE_SERVE_TOKEN_FILE is empty, or has"):
        read_token()
    no_token.setenv("PIPELINE_SERVE_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing' cannot be read: No such file"):
        read_token()
    no_token.setenv("PIPELINE_SERVE_TOKEN", "a")
    with pytest.raises(UserError, match="both"):
        read_token()


# starting


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    (taken,) = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with taken, pytest.raises(UserError) as told:
        listen("127.0.0.1", port)
    assert str(told.value) == f"port {port} of 127.0.0.1 is in use; --port 0 takes a free one"
    for host, said in (
        ("192.0.2.1", "is no address of this machine"),
        ("nowhere.invalid", "is no known host"),
        ("a..b", "is no known host"),
    ):
        with pytest.raises(UserError, match=f"{host}.* {said}"):
            listen(host, 0)


@pytest.mark.parametrize(("model", "host"), [(str(MODEL), ""), (str(MODEL), " "), ("", "::1")])
def test_an_empty_option_is_not_a_default(model: str, host: str) -> None:
    """An unset variable of a script would open the service to everybody."""
    with pytest.raises(UserError, match=r"--(host|model) is empty"):
        run(model, host, 0, json_log=True)


def test_on_a_terminal_one_line_says_where_it_is_and_how_it_ends() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*SERVE, "--port", "0"], cwd=PROJECT, stderr=theirs)
    os.close(theirs)
    said = ""
    try:
        while "\n" not in said:
            said += os.read(ours, 1000).decode()
        line = re.fullmatch(r"(http://127\.0\.0\.1:\d+) - Ctrl-C stops it\r\n", said)
        assert line is not None, said
        assert requests.get(f"{line[1]}/v2/health/ready", timeout=60).ok
        os.write(ours, b"")
        process.send_signal(signal.SIGINT)
        process.wait(60)
        with suppress(OSError):  # of Linux, for a terminal that nobody has open
            while more := os.read(ours, 1000).decode():
                said += more
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert said.splitlines()[1:] == ["stopped by SIGINT"]


# the reports


def test_figures_are_shown_only_of_the_model_that_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the reports change while it is served, by an experiment or a refused candidate."""
    monkeypatch.chdir(tmp_path)
    classifier = Classifier(MODEL, threads=1)
    of_the_model = [METRICS, *(EVALUATION / f"{name}.png" for name in FIGURES)]
    for path in (*of_the_model, BACKPROP / "loss.svg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    async def shown() -> list[str]:
        async with in_process(Limits(), classifier) as client:
            answers = {
                path.name: await client.get(f"/figures/{path.name}")
                for path in (*of_the_model, BACKPROP / "loss.svg")
            }
            assert {answer.status_code for answer in answers.values()} <= {200, 404}
            return [name for name, answer in answers.items() if answer.status_code == 200]

    for nobody in (None, "", "no JSON", "[]", "{}", '{"model_sha256": null}'):
        if nobody is not None:
            SUBJECT.write_text(nobody)
        assert asyncio.run(shown()) == ["loss.svg"]  # which is not of this model
    SUBJECT.write_text(json.dumps({"model_sha256": classifier.sha256}))
    assert len(asyncio.run(shown())) == 5
    SUBJECT.write_text(json.dumps({"model_sha256": "0" * 64}))
    assert asyncio.run(shown()) == ["loss.svg"]


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


def test_a_request_takes_seconds_not_milliseconds(ten: Images) -> None:
    metrics = Metrics([])
    metrics.answered("/predict", "POST", 200, 0.25)
    assert b'http_request_seconds_sum{route="/predict"} 0.25' in metrics.text()


def test_the_numbers_are_those_of_requests_and_answers() -> None:
    metrics = Metrics([10.0 * n for n in range(1, 10)])
    metrics.answered("/predict", "POST", 503, 0.3)
    sure, unsure = [np.float32(0.97)] * 99, [np.float32(0.45)]
    digits = np.array([3] * 99 + [5])
    none = np.zeros((100, 10), np.float32)
    answer = Predictions(digits, np.array(sure + unsure), none, none)
    metrics.predicted(np.zeros((100, 28, 28), np.uint8), answer)
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    ]

    def value(name: str, **labels: str) -> float:
        (found,) = [s.value for s in samples if (s.name, s.labels) == (name, labels)]
        return found

    asked = {"route": "/predict", "method": "POST", "status": "503"}
    assert value("http_requests_total", **asked) == 1
    for name, up_to, labels in (
        ("http_request_seconds", {"0.2": 0, "0.5": 1}, {"route": "/predict"}),
        ("request_images", {"64.0": 0, "128.0": 1}, {}),
        ("prediction_confidence", {"0.4": 0, "0.5": 1, "0.95": 1, "0.99": 100}, {}),
    ):
        for most, count in up_to.items():
            assert value(f"{name}_bucket", le=most, **labels) == count
    assert value("prediction_confidence_sum") == pytest.approx(99 * 0.97 + 0.45)
    found = [value("predicted_digits_total", digit=str(digit)) for digit in range(10)]
    assert found == [0, 0, 0, 99, 0, 1, 0, 0, 0, 0]
    assert value("input_drift") > 1  # all are black, and so is a tenth of the training images
    names = {sample.name for sample in samples}
    assert {"process_cpu_seconds_total", "python_gc_collections_total", "python_info"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_the_service_knows_what_its_model_was_trained_on(
    service: Service, mnist: tuple[Images, Images]
) -> None:
    assert service.infer(inputs=[images_input(mnist[0][:1000])]).ok
    assert service.metric("input_drift") < 0.25  # and no NaN
    assert service.infer(inputs=[images_input(255 - mnist[0][:1000])]).ok
    assert service.metric("input_drift") > 0.25


def test_a_preview_is_not_counted_as_input(service: Service, ten: Images) -> None:
    names = ("request_images_count", "prediction_confidence_count", "predicted_digits_total")
    before = [service.metric(name) for name in names]
    assert service.post("/predict?preview=true", png(ten[1])).json()["digit"] == 1
    assert [service.metric(name) for name in names] == before
    assert service.post("/predict", png(ten[1])).ok
    assert [service.metric(name) for name in names] == [count + 1 for count in before]


def test_drift_tells_other_images_from_such_as_it_was_trained_on(
    mnist: tuple[Images, Images],
) -> None:
    images = np.random.default_rng(1).permutation(mnist[0])
    drift = Drift(np.quantile(images.mean((1, 2)), np.arange(1, 10) / 10).tolist())
    drift.add(images[:99])
    assert math.isnan(drift.index())  # too few
    drift.add(images[99:100])
    assert math.isfinite(drift.index())
    drift.add(images[100:1000])
    assert drift.index() < 0.1
    drift.add(255 - images[:1000])
    assert 0.25 < drift.index() < math.inf
    drift.add(np.concatenate([255 - images[:2000], images[:1000]]))  # the last 1,000 count
    assert drift.index() < 0.1
    assert math.isnan(Drift([]).index())  # of a model that does not say what it was trained on


@pytest.mark.parametrize("brightness", [0, 255])
def test_drift_is_the_population_stability_index(brightness: int) -> None:
    """Of 100 images in one of the tenths: 100.5, and half an image in each of the others."""
    drift = Drift([10.0 * n for n in range(1, 10)])
    drift.add(np.full((100, 28, 28), brightness, np.uint8))
    shares = np.array([100.5, *[0.5] * 9]) / 105
    assert drift.index() == pytest.approx(((shares - 0.1) * np.log(shares / 0.1)).sum())


def test_each_request_is_a_line_of_json(service: Service, log: Path) -> None:
    service.get("/only-here?secret=1")
    wait_until(lambda: '"/only-here"' in log.read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "runs on" in lines[0]["message"]
    (last,) = [line for line in lines if line.get("path") == "/only-here"]
    assert (last["method"], last["status"], last["client"]) == ("GET", 404, "127.0.0.1")
    assert last["milliseconds"] > 0
    assert "secret" not in log.read_text()


def test_the_log_has_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pipeline.service.access")
    guard = Guard(FastAPI(), Limits(), Metrics([]), None)
    guard._note({"method": "GET", "path": "/v2"}, "/v2", 200, 0.25)
    (record,) = caplog.records
    assert (vars(record)["milliseconds"], vars(record)["client"]) == (250, "?")


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
