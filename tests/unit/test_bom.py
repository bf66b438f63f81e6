"""The bill of materials of a release: valid CycloneDX that says what the model was made from."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.registry.bom import bom
from tests.checkout import MODEL, PROJECT, needs_model

pytestmark = needs_model
WORKSPACE = Workspace(PROJECT)
STATEMENT = json.loads(WORKSPACE.provenance.read_text()) if WORKSPACE.provenance.exists() else {}
METRICS = Metrics(
    images=10_000,
    accuracy=0.9957,
    accuracy_low=0.9942,
    accuracy_high=0.9969,
    misclassified=43,
    loss=0.012,
    expected_calibration_error=0.0017,
    macro_f1=0.9957,
    lowest_recall=0.9913,
)
CARD = WORKSPACE.model_card.read_text() if WORKSPACE.model_card.exists() else ""


def made(statement: Any = STATEMENT, card: str = CARD) -> dict[str, Any]:
    return bom(WORKSPACE, statement, Classifier(MODEL, threads=1).signature, METRICS, card)


def errors(content: Any) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(content))


@pytest.mark.parametrize("card", [CARD, "", "---\nlicense: other\n---\n# A model\n"])
def test_it_is_valid_cyclonedx(card: str) -> None:
    content = made(card=card)
    assert errors(content) is None
    content["metadata"]["component"]["modelCard"]["accuracy"] = 1
    assert errors(content) is not None


def test_it_names_the_model_with_its_licence_and_quality() -> None:
    model = made()["metadata"]["component"]
    digest = STATEMENT["subject"][0]["digest"]["sha256"]
    assert model["type"] == "machine-learning-model"
    assert (model["name"], model["version"]) == ("mnist-cnn", digest[:12])
    assert model["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert model["licenses"] == [{"license": {"id": "MIT"}}]
    accuracy = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]
    assert float(accuracy["value"]) == METRICS.accuracy
    assert float(accuracy["confidenceInterval"]["lowerBound"]) == METRICS.accuracy_low
    params = STATEMENT["predicate"]["buildDefinition"]["externalParameters"]["params"]
    epochs = {"name": "gated-mnist:train.epochs", "value": str(params["train"]["epochs"])}
    assert epochs in model["properties"]


def test_it_lists_data_sets_code_and_packages() -> None:
    content = made()
    parts = {part["name"]: part for part in content["components"]}
    for dependency in STATEMENT["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if digest := dependency["digest"].get("sha256"):
            assert parts[dependency["name"]]["hashes"][0]["content"] == digest
    data_sets = {name for name, part in parts.items() if part["type"] == "data"}
    assert {"data/train.safetensors", "data/test.safetensors"} < data_sets
    assert len([name for name in data_sets if name.startswith("data/raw/")]) == 4
    card = content["metadata"]["component"]["modelCard"]
    refs = {part["bom-ref"] for part in content["components"]}
    assert {found["ref"] for found in card["modelParameters"]["datasets"]} < refs
    assert set(content["dependencies"][0]["dependsOn"]) == refs
    for name, version in STATEMENT["predicate"]["buildDefinition"]["internalParameters"][
        "versions"
    ].items():
        assert parts[name]["version"] == version


def test_a_licence_is_that_of_the_version_that_was_used() -> None:
    statement = copy.deepcopy(STATEMENT)
    statement["predicate"]["buildDefinition"]["internalParameters"]["versions"] = {
        "numpy": np.__version__,
        "scipy": "1.0",
        "not-installed-here": "2",
    }
    packages = {part["name"]: part for part in made(statement)["components"]}
    assert packages["numpy"]["licenses"]
    assert packages["numpy"]["purl"] == f"pkg:pypi/numpy@{np.__version__}"
    assert not {"licenses"} & {*packages["scipy"], *packages["not-installed-here"]}


def test_the_same_release_has_the_same_bill() -> None:
    assert made() == made()
    other = copy.deepcopy(STATEMENT)
    other["subject"][0]["digest"]["sha256"] = "0" * 64
    assert made(other)["serialNumber"] != made()["serialNumber"]
