"""The bill of materials of a release (ML-BOM): what the model is, and what it was made from.

The format is CycloneDX 1.6. The same release gives the same bytes: the only time in it is the start
of the training, and its serial number derives from the digest of the model.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from pipeline import DISTRIBUTION, __version__
from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.inference.session import INTERFACE
from pipeline.inference.signature import Signature

MODEL_CARD = "MODEL_CARD.md"  # next to it in the folder of the release
IDENTIFIERS = ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")  # SPDX
SPDX = {identifier.lower(): identifier for identifier in IDENTIFIERS}
Component = dict[str, Any]


def bom(
    workspace: Workspace,
    statement: Mapping[str, Any],
    signature: Signature,
    metrics: Metrics,
    card: str,
) -> dict[str, Any]:
    """The bill of materials of a release, as JSON.

    `statement` is its provenance (`registry.provenance`), `signature` that of the model, `metrics`
    its quality on the test set, `card` its model card, of which the licence is taken.
    """
    (subject,) = statement["subject"]
    definition = statement["predicate"]["buildDefinition"]
    made_from = list(_inputs(workspace, definition["resolvedDependencies"]))
    made_from += map(_package, sorted(definition["internalParameters"]["versions"].items()))
    model = _model(subject, definition, signature, metrics, card)
    data_sets = [part for part in made_from if part["type"] == "data"]
    model["modelCard"]["modelParameters"]["datasets"] = [{"ref": _ref(part)} for part in data_sets]
    tool = {"type": "application", "name": DISTRIBUTION, "version": __version__}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, subject['digest']['sha256'])}",
        "version": 1,
        "metadata": {
            "timestamp": statement["predicate"]["runDetails"]["metadata"]["startedOn"],
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [tool]},
            "component": model,
        },
        "components": made_from,
        "dependencies": [
            {"ref": _ref(model), "dependsOn": [_ref(part) for part in made_from]},
            *({"ref": _ref(part)} for part in made_from),
        ],
    }


def _ref(component: Component) -> str:
    return str(component["bom-ref"])


def _model(
    subject: Mapping[str, Any],
    definition: Mapping[str, Any],
    signature: Signature,
    metrics: Metrics,
    card: str,
) -> Component:
    digest = subject["digest"]["sha256"]
    inputs, *outputs = [{"format": f"{name}: {kind}"} for name, kind in INTERFACE]
    commits = [
        dependency["digest"]["gitCommit"]
        for dependency in definition["resolvedDependencies"]
        if "gitCommit" in dependency.get("digest", {})
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": signature.model,
        "version": digest[:12],
        "description": f"Classifies {signature.subject}.",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        **_licence(card),
        **({"pedigree": {"commits": [{"uid": commit} for commit in commits]}} if commits else {}),
        "externalReferences": [{"type": "model-card", "url": MODEL_CARD}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "image classification",
                "architectureFamily": "convolutional neural network",
                "inputs": [inputs],
                "outputs": outputs,
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_quality(metrics))},
        },
        "properties": [
            {"name": f"{DISTRIBUTION}:train.{name}", "value": json.dumps(value)}
            for name, value in definition["externalParameters"]["params"]["train"].items()
        ],
    }


def _quality(metrics: Metrics) -> Iterator[dict[str, Any]]:
    for name in ("accuracy", "loss", "expected_calibration_error", "macro_f1", "lowest_recall"):
        found: dict[str, Any] = {
            "type": name.replace("_", " "),
            "value": str(getattr(metrics, name)),
            "slice": f"the {metrics.images:,} test images",
        }
        if name == "accuracy":
            found["confidenceInterval"] = {
                "lowerBound": str(metrics.accuracy_low),
                "upperBound": str(metrics.accuracy_high),
            }
        yield found


def _inputs(workspace: Workspace, dependencies: list[dict[str, Any]]) -> Iterator[Component]:
    """The data sets, code and other files that the release was made from."""
    purposes = {
        workspace.name(workspace.training_set): "training set",
        workspace.name(workspace.test_set): "test set",
    }
    raw = f"{workspace.name(workspace.raw)}/"
    for dependency in dependencies:
        name, digest = dependency["name"], dependency.get("digest", {}).get("sha256")
        if digest is None:  # the repository
            continue
        purpose = "published data set" if name.startswith(raw) else purposes.get(name)
        yield {
            "type": "file" if purpose is None else "data",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
            **({} if purpose is None else {"data": [{"type": "dataset", "name": purpose}]}),
        }


def _package(item: tuple[str, str]) -> Component:
    """A package that the training used, with its licence if that version is installed here."""
    name, version = item
    component = {"type": "library", "bom-ref": f"package:{name}", "name": name, "version": version}
    if name == "python":
        return component | {"type": "platform"}
    component["purl"] = f"pkg:pypi/{name}@{version}"
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return component
    if found["Version"] != version:
        return component
    if expressions := found.get_all("License-Expression", []):
        return component | {"licenses": [{"expression": expressions[0]}]}
    kinds = [text for text in found.get_all("Classifier", []) if text.startswith("License ::")]
    named = [{"license": {"name": text.rpartition(":: ")[2]}} for text in sorted(kinds)]
    return component | ({"licenses": named} if named else {})


def _licence(card: str) -> dict[str, Any]:
    """The licence in the metadata of a model card, if there is one."""
    found = re.search(r"^license: *(\S+)$", card.split("\n---\n")[0], re.MULTILINE)
    if found is None:
        return {}
    name = found[1].strip("\"'")
    identifier = SPDX.get(name.lower())
    return {"licenses": [{"license": {"id": identifier} if identifier else {"name": name}}]}
