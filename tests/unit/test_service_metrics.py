"""What operators of the HTTP service see: metrics and the access log."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.inference import Classifier
from pipeline.inference.classifier import Predictions
from pipeline.service.metrics import Metrics
from pipeline.service.pool import ModelPool, ServedModel
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits
from tests.services import INFER, Client, binary_request, client_of, make_app, metric, png

pytestmark = needs_model


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(make_app()) as client:
        yield client


def infer(client: Client, images: Images) -> None:
    body, headers = binary_request(images)
    assert client.post(INFER, body, headers=headers).status_code == 200


def test_unknown_methods_share_one_label(client: Client) -> None:
    for method in ("X0", "X1"):
        client.request(method, "/v2")
    assert client.metric("http_requests_total", method="other") == 2
    assert client.metric("http_requests_total", method="X0") == 0


def test_unknown_paths_share_one_label(client: Client) -> None:
    for path in ("/made-up", "/nothing"):
        client.get(path)
    client.get("/v2/models/made-up")
    assert client.metric("http_requests_total", route="none") == 2
    assert client.metric("http_requests_total", route="/v2/models/{name}", status="404") == 1


def test_each_route_is_counted_by_its_path(client: Client) -> None:
    for path, route in (("/", "/"), ("/docs", "/docs"), ("/figures/x", "/figures/{name}"),
                        ("/v2/models/mnist-cnn", "/v2/models/{name}")):  # fmt: skip
        before = client.metric("http_requests_total", route=route)
        client.get(path)
        assert client.metric("http_requests_total", route=route) == before + 1


def test_metrics_count_requests_and_predictions(client: Client, ten: Images) -> None:
    names = ("request_images_sum", "prediction_confidence_count")
    before = [client.metric(name) for name in names]
    sevens = client.metric("predictions_total", label="7")
    infer(client, ten[[7, 7, 1]])
    assert client.metric("predictions_total", label="7") == sevens + 2
    assert [client.metric(name) for name in names] == [count + 3 for count in before]
    route = "/v2/models/{name}/infer"
    assert client.metric("http_requests_total", route=route, status="200") == 1
    assert client.metric("http_request_seconds_count", route=route) == 1


def test_previews_do_not_count_as_input(client: Client, ten: Images) -> None:
    names = ("request_images_count", "prediction_confidence_count", "predictions_total")
    before = [client.metric(name) for name in names]
    assert client.post("/predict?preview=true", png(ten[1])).json()["digit"] == 1
    assert [client.metric(name) for name in names] == before
    assert client.post("/predict", png(ten[1])).status_code == 200
    assert [client.metric(name) for name in names] == [count + 1 for count in before]


def test_pictures_that_show_no_class_count_only_by_their_verdict() -> None:
    classifier = Classifier(MODEL, threads=1)
    images = make_digits(4, seed=1)[0]
    found = classifier.predict(images)
    verdicts = ["digit", "unsure", "not a digit", "not a digit"]
    labels = ["0", "1", None, None]
    metrics = Metrics(ModelPool(ServedModel(classifier)), [])
    metrics.record_predictions("v", replace(found, verdicts=verdicts, labels=labels))
    for verdict in ("no ink", "several", "several"):
        metrics.record_refusal("v", verdict)
    text = metrics.text().decode()
    counts = {"digit": 1, "unsure": 1, "not a digit": 2, "no ink": 1, "several": 2}
    assert {v: metric(text, "verdicts_total", verdict=v) for v in counts} == counts
    assert metric(text, "predictions_total") == metric(text, "prediction_confidence_count") == 2
    assert metric(text, "request_images_sum") == 4


def test_a_refused_picture_is_counted_unless_it_is_a_preview(client: Client) -> None:
    blank = png(np.zeros((80, 80), np.uint8))
    before = client.metric("verdicts_total")
    assert client.post("/predict?preview=true", blank).json()["verdict"] == "no ink"
    assert client.metric("verdicts_total") == before
    client.post("/predict", blank)
    assert client.metric("verdicts_total") == before + 1


def test_metrics_have_the_documented_units_and_buckets() -> None:
    classifier = Classifier(MODEL, threads=1)
    metrics = Metrics(ModelPool(ServedModel(classifier)), ["/predict"])
    version = {"version": classifier.sha256[:12]}
    metrics.record_response("/predict", "POST", 503, 0.3)
    sure, unsure = [np.float32(0.97)] * 99, [np.float32(0.45)]
    none = np.zeros((100, 10), np.float32)
    classes = np.array([3] * 99 + [5])
    answer = Predictions(
        verdicts=["digit"] * 100,
        classes=classes,
        labels=[str(number) for number in classes],
        confidences=np.array(sure + unsure),
        sets=none > 0,
        novelty=none[:, 0],
        probabilities=none,
        logits=none,
    )
    metrics.record_predictions(version["version"], answer)
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    ]

    def value(name: str, **labels: str) -> float:
        (found,) = [s.value for s in samples if (s.name, s.labels) == (name, labels)]
        return found

    assert value("http_requests_total", route="/predict", method="POST", status="503") == 1
    assert value("http_request_seconds_sum", route="/predict") == 0.3  # not milliseconds
    for name, up_to, labels in (
        ("http_request_seconds", {"0.2": 0, "0.5": 1}, {"route": "/predict"}),
        ("request_images", {"64.0": 0, "128.0": 1}, version),
        ("prediction_confidence", {"0.4": 0, "0.5": 1, "0.95": 1, "0.99": 100}, version),
    ):
        for most, count in up_to.items():
            assert value(f"{name}_bucket", le=most, **labels) == count
    assert value("prediction_confidence_sum", **version) == pytest.approx(99 * 0.97 + 0.45)
    found = [value("predictions_total", label=str(digit), **version) for digit in range(10)]
    assert found == [0, 0, 0, 99, 0, 1, 0, 0, 0, 0]
    names = {sample.name for sample in samples}
    assert {"process_cpu_seconds_total", "python_gc_collections_total", "python_info"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_each_request_is_logged_once_without_its_query(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline.service.access")
    client.request("HEAD", "/only-here?secret=1")
    (line,) = [vars(record) for record in caplog.records if record.name.endswith("access")]
    assert (line["method"], line["path"], line["status"]) == ("HEAD", "/only-here", 404)
    assert line["client"] == "127.0.0.1"
    seconds = client.metric("http_request_seconds_sum", route="none")
    assert 0 < line["milliseconds"] <= 1000 * seconds + 0.001
    assert "secret" not in str(line)
