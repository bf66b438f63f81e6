"""The Open Inference Protocol: responses to valid and invalid requests."""

import json
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from pipeline.core.task import ImageForm
from pipeline.inference import Classifier
from pipeline.service.challenger.trial import Rules
from pipeline.service.messages import InputParameters, OutputParameters, RequestParameters
from pipeline.service.pool import ServedModel
from pipeline.service.protocol import read_request
from tests.checkout import MODEL, needs_model
from tests.digits import Images
from tests.services import INFER, Client, binary_request, client_of, images_input, make_app, png
from tests.trials import linked

pytestmark = needs_model
FORM = ImageForm(height=28, width=28, ink=20)
ONE = np.zeros((1, 28, 28), np.uint8)
TEN = list(range(10))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    model = ServedModel(Classifier(MODEL, threads=1))
    with linked(model, Rules()) as (link, _), client_of(make_app(link=link)) as client:
        yield client


def test_json_requests_are_answered_in_json(client: Client, ten: Images) -> None:
    expected = Classifier(MODEL, threads=1).predict(ten)
    for data in (ten.ravel().tolist(), ten.tolist()):
        answer = client.post(INFER, json={"id": "a", "inputs": [images_input(ten, data=data)]})
        assert answer.headers["content-type"] == "application/json"
        content = answer.json()
        assert (content["id"], content["model_name"]) == ("a", "mnist-cnn")
        outputs = {output["name"]: output for output in content["outputs"]}
        assert list(outputs) == ["logits", "probabilities", "novelty"]
        for name, output in outputs.items():
            values = getattr(expected, name)
            assert (output["datatype"], output["shape"]) == ("FP32", [*values.shape])
            answered = np.reshape(output["data"], values.shape)
            np.testing.assert_allclose(answered, values, atol=1e-4)


def test_binary_tensors_work_in_both_directions(client: Client, ten: Images) -> None:
    body, headers = binary_request(ten)
    wanted = b'"parameters": {"binary_data_output": true}, "inputs"'
    length = int(headers["Inference-Header-Content-Length"]) + len(wanted) - len(b'"inputs"')
    headers = {"Inference-Header-Content-Length": str(length)}
    body = body.replace(b'"inputs"', wanted, 1)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    end = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:end])["outputs"]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [400, 400, 40]
    values = np.frombuffer(answer.content[end:], "<f4")
    for shares in (values[:100], values[100:200]):
        assert shares.reshape(10, 10).argmax(1).tolist() == TEN
    novelty = Classifier(MODEL, threads=1).predict(ten).novelty
    np.testing.assert_allclose(values[200:], novelty, atol=1e-4)


def test_the_model_version_identifies_the_file(client: Client, ten: Images) -> None:
    """Another file is another version; the version of the interface stays."""
    digest = Classifier(MODEL, threads=1).sha256
    described = client.get("/v2/models/mnist-cnn").json()
    (version,) = described["versions"]
    assert version == digest[:12]
    assert described["parameters"]["sha256"] == digest
    assert described["parameters"]["labels"] == [str(digit) for digit in TEN]
    assert client.get("/v2").json()["version"] == "2" != version
    assert client.get("/openapi.json").json()["info"]["version"] == "2"
    shapes = {output["name"]: output["shape"] for output in described["outputs"]}
    assert shapes == {"logits": [-1, 10], "probabilities": [-1, 10], "novelty": [-1]}
    versioned = f"/v2/models/mnist-cnn/versions/{version}"
    assert client.get(versioned).json() == described
    assert client.get(f"{versioned}/ready").json() == {"name": "mnist-cnn", "ready": True}
    answer = client.post(f"{versioned}/infer", json={"inputs": [images_input(ten)]})
    assert answer.json()["model_version"] == version


@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
@pytest.mark.parametrize(
    ("model", "there_is"),
    [
        ("another", "has mnist-cnn"),
        ("mnist-cnn/versions/1", "has [0-9a-f]{12}$"),
        ("another/versions/1", "has mnist-cnn"),
    ],
)
def test_an_unknown_model_or_version_is_answered_with_the_available_one(
    client: Client, model: str, path: str, there_is: str
) -> None:
    method = "POST" if path == "/infer" else "GET"
    answer = client.request(method, f"/v2/models/{model}{path}")
    assert answer.status_code == 404
    assert re.search(there_is, answer.json()["error"])


def faulty(said: str, **changes: Any) -> tuple[dict[str, Any], str]:
    """A request with one image and these changes, and the expected error."""
    return {"inputs": [images_input(ONE, **changes)]}, said


def faulty_output(said: str, **output: Any) -> tuple[dict[str, Any], str]:
    """A request for one output, and the expected error."""
    return {"inputs": [images_input(ONE)], "outputs": [output]}, said


INTEGER, SHARED = "valid integer", "shared_memory_region: not supported"
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "inputs: Field required"),
    "no input": ({"inputs": []}, "inputs: List should have at least 1 item"),
    "two inputs": ({"inputs": [images_input(ONE)] * 2}, "at most 1 item"),
    "another name": faulty("inputs.0.name: Input should be 'images'", name="x"),
    "another type": faulty("inputs.0.datatype: Input should be 'UINT8'", datatype="FP32"),
    "another shape": faulty("inputs.0.shape", shape=[1, 784]),
    "another size": faulty("inputs.0.shape.2: Input should be 28", shape=[1, 28, 29]),
    "negative shape": faulty("inputs.0.shape.0: Input", shape=[-1, 28, 28]),
    "too few": faulty("1568 numbers, not 784", shape=[2, 28, 28]),
    "huge shape": faulty("numbers, not 784", shape=[10**15, 28, 28]),
    "no data": faulty("either data, or binary_data_size", data=None),
    "strings": faulty(INTEGER, data=["a"] * 784),
    "floats": faulty(INTEGER, data=[0.5] * 784),
    "nulls": faulty(INTEGER, data=[None] * 784),
    "booleans": faulty(INTEGER, data=[True] * 784),
    "above 255": faulty("less than or equal to 255", data=[256] * 784),
    "below 0": faulty("greater than or equal to 0", data=[-1] * 784),
    "large number": faulty("less than or equal to 255", data=[10**30] * 784),
    "ragged": faulty("28 items", data=[[[0] * 28] * 27 + [[0]]]),
    "no bytes": faulty("0 bytes follow the JSON", data=None, parameters={"binary_data_size": 784}),
    "both": faulty("both data and binary_data_size", parameters={"binary_data_size": 784}),
    "an input in shared memory": faulty(
        f"inputs.0.parameters.{SHARED}", data=None, parameters={"shared_memory_region": "a"}
    ),
    "classification": faulty_output(
        "outputs.0.parameters.classification: not supported",
        name="logits",
        parameters={"classification": 3},
    ),
    "an output in shared memory": faulty_output(
        f"outputs.0.parameters.{SHARED}", name="logits", parameters={"shared_memory_region": "a"}
    ),
    "another output": faulty_output(
        "outputs.0.name: Input should be 'logits', 'probabilities' or 'novelty'", name="x"
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_with_the_reason(client: Client, name: str) -> None:
    content, said = MALFORMED[name]
    answer = client.post(INFER, json=content)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_unclaimed_bytes_are_refused(client: Client) -> None:
    header = json.dumps({"inputs": [images_input(ONE)]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = client.post(INFER, content=header + b"x", headers=headers)
    assert answer.status_code == 400
    assert "either data, or binary_data_size" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[" * 100_000, b'{"inputs": ' * 50_000, b"\xff\xfe", b"null", b"[]", b"0"],
    ids=["empty", "text", "deep list", "deep object", "no UTF-8", "null", "list", "number"],
)
def test_a_body_that_is_not_a_request_is_refused(client: Client, body: bytes) -> None:
    answer = client.post(INFER, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "999999", "9" * 50, "9" * 5000, "²"])
def test_an_invalid_header_length_is_refused(client: Client, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length.encode()}
    answer = client.post(INFER, json={"inputs": [images_input(ONE)]}, headers=headers)
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


def test_null_is_equivalent_to_absence(client: Client, ten: Images) -> None:
    tensor = images_input(ten, parameters={"binary_data_size": None, "shared_memory_region": None})
    output = {"name": "logits", "parameters": {"binary_data": None, "classification": None}}
    everything = {"id": None, "parameters": {"binary_data_output": None}}
    for nulls in (
        everything | {"inputs": [tensor], "outputs": [output]},
        {"parameters": None, "inputs": [images_input(ten, parameters=None)], "outputs": None},
        {"inputs": [images_input(ten)], "outputs": [{"name": "logits", "parameters": None}]},
    ):
        answer = client.post(INFER, json=nulls)
        assert answer.status_code == 200, answer.text
        assert np.reshape(answer.json()["outputs"][0]["data"], (10, 10)).argmax(1).tolist() == TEN


def test_parameters_that_affect_no_answer_are_ignored(client: Client) -> None:
    ignored = {"sequence_id": 1, "sequence_start": True, "priority": 1, "timeout": 1}
    content = {"inputs": [images_input(ONE)], "parameters": ignored}
    assert client.post(INFER, json=content).status_code == 200


def test_request_parameters_are_described() -> None:
    for message in (InputParameters, OutputParameters, RequestParameters):
        for name, field in message.model_json_schema()["properties"].items():
            assert field.get("description"), name


def test_an_output_overrides_the_binary_default_of_the_request() -> None:
    outputs = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    content = {"inputs": [images_input(ONE)], "outputs": outputs}
    both = content | {"parameters": {"binary_data_output": True}}
    request = read_request(json.dumps(both).encode(), None, FORM)
    assert request.outputs == {"logits": False, "probabilities": True}
    assert not any(read_request(json.dumps(content).encode(), None, FORM).outputs.values())


def test_the_documented_example_works(client: Client) -> None:
    described = client.get("/openapi.json").json()
    operation = described["paths"]["/v2/models/{name}/infer"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    (example,) = content["examples"].values()
    (name,) = operation["parameters"][0]["schema"]["enum"]
    answer = client.post(f"/v2/models/{name}/infer", json=example["value"])
    assert answer.status_code == 200
    assert np.argmax(answer.json()["outputs"][1]["data"]) == 1


def test_every_route_is_described(client: Client) -> None:
    described = client.get("/openapi.json").json()
    tags = {tag["name"] for tag in described["tags"]}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert set(operation["tags"]) <= tags, path
            assert operation["summary"]
            assert operation["description"]
            assert "422" not in operation["responses"]  # the service returns 400 instead
    assert "ValidationError" not in json.dumps(described)
    answered = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]["properties"]
    fields = ["label", "digit", "confidence", "set", "novelty", "verdict", "probabilities"]
    assert list(answered) == [*fields, "version", "id", "reason", "image", "explanation"]


ERRORS = {  # status codes of each route
    "/v2": {500},
    "/v2/health/live": {500},
    "/v2/health/ready": {500},
    "/v2/models/{name}": {401, 404, 500},
    "/v2/models/{name}/ready": {401, 404, 500},
    "/v2/models/{name}/infer": {400, 401, 404, 408, 413, 415, 500, 503},
    "/predict": {400, 401, 408, 413, 415, 500, 503},
    "/v2/repository/index": {400, 401, 408, 413, 415, 500, 503},
    "/v2/repository/models/{name}/load": {400, 401, 403, 404, 408, 413, 415, 500, 503},
    "/v2/repository/models/{name}/unload": {400, 401, 403, 404, 408, 413, 415, 500, 503},
    "/metrics": {401, 500},
    "/challenger": {401, 404, 500},
    "/feedback": {400, 401, 404, 408, 413, 415, 429, 500, 503},
    "/journal/{id}": {401, 404, 429, 500, 503},
    "/review/queue": {400, 401, 403, 404, 500},
    "/review/labels": {400, 401, 403, 404, 408, 413, 415, 500, 503},
}


def test_every_error_and_every_parameter_is_described(client: Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["paths"].keys() == ERRORS.keys()
    for path, operations in described["paths"].items():
        for operation in operations.values():
            success = 204 if path == "/journal/{id}" else 200
            assert {int(status) for status in operation["responses"]} == {success, *ERRORS[path]}
            assert all("description" in parameter for parameter in operation.get("parameters", []))


WITHOUT_MORE = [  # routes that require no other token and no id
    path
    for path, errors in ERRORS.items()
    if 403 not in errors and path not in {"/feedback", "/journal/{id}"}
]


@pytest.mark.parametrize("path", WITHOUT_MORE)
def test_responses_and_examples_match_their_schema(client: Client, ten: Images, path: str) -> None:
    described = client.get("/openapi.json").json()
    ((method, operation),) = described["paths"][path].items()
    body = {"predict": png(ten[3]), "infer": json.dumps({"inputs": [images_input(ten)]})}
    answer = client.request(
        method.upper(), path.format(name="mnist-cnn"), content=body.get(operation["operationId"])
    )
    assert answer.status_code == 200
    content = operation["responses"]["200"]["content"]
    described_as = content[answer.headers["content-type"].partition(";")[0]]
    if "json" in answer.headers["content-type"]:
        schema = described_as["schema"] | {"components": described["components"]}
        for value in (answer.json(), described_as["example"]):
            jsonschema_rs.validate(schema, value)
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, {})


def test_open_routes_are_described_as_open() -> None:
    described = make_app(token="secret").openapi()
    assert described["security"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            expected: object = None if 401 in ERRORS[path] else []
            if 403 in ERRORS[path]:
                kind = "review" if path.startswith("/review/") else "admin"
                expected = [{f"{kind} token": []}]
            assert operation.get("security") == expected, path


def test_more_images_than_the_limit_are_refused(client: Client) -> None:
    body, headers = binary_request(np.zeros((8193, 28, 28), np.uint8))
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 400
    assert "at most 8,192 images, not 8,193" in answer.json()["error"]


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
def test_millions_of_errors_are_not_listed(body: bytes) -> None:
    """That would take minutes and gigabytes."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"outputs|data"):
        read_request(body, None, FORM)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_only_the_first_error_of_an_image_is_reported() -> None:
    rows = [[256] * 28] * 28
    tensor = {"name": "images", "shape": [2, 28, 28], "datatype": "UINT8", "data": [rows, rows]}
    with pytest.raises(ValueError, match="less than or equal to 255") as error:
        read_request(json.dumps({"inputs": [tensor]}).encode(), None, FORM)
    assert str(error.value).count(";") == 1  # neither flat nor nested
