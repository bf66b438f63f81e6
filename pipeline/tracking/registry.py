"""The registered model: the release in models/, under the run that trained it."""

import hashlib
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from pipeline.core.errors import UserError
from pipeline.core.files import existing, read_json, sha256
from pipeline.core.workspace import Workspace
from pipeline.tracking import Part, promotion
from pipeline.tracking.runs import Published, find_or_create
from pipeline.tracking.training import find_training

ATTEMPTS, PAUSE = 20, 0.1  # seconds; a release takes less to change models/
MODEL_NAME = "mnist-cnn"
ALIAS = "champion"
MODEL_TAG = "sha256"  # a model version is found by the file that it holds
MODEL_FILE = "model.onnx"  # its name in MLflow's form of a model
EXAMPLE = np.zeros((1, 28, 28), np.uint8)
EXAMPLE[0, 5:23, 13:16] = 255  # a plain stroke: a one


@dataclass(frozen=True)
class Release:
    """What is in models/ at one moment."""

    digest: str
    model: bytes
    description: str
    metadata: Mapping[str, Any]  # of the training, as the provenance has it


def read_release(workspace: Workspace) -> Release:
    """Read models/ before a server is asked.

    UserError if its files do not belong together, or are of another form.
    """
    for _ in range(ATTEMPTS):
        model = existing(workspace.released_model).read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        card = existing(workspace.model_card).read_text(encoding="utf-8")
        provenance = read_json(workspace.provenance)
        try:
            of = provenance["subject"][0]["digest"]["sha256"]
            metadata = provenance["predicate"]["runDetails"]["metadata"]
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{workspace.provenance} has another form: `dvc repro` heals"
            ) from error
        if of == digest == sha256(workspace.released_model):
            return Release(digest, model, card.split("---\n", 2)[-1], metadata)
        time.sleep(PAUSE)
    raise UserError(
        f"{workspace.provenance} is not of {workspace.released_model}: `dvc repro` heals"
    )


def publish_release(
    workspace: Workspace, client: MlflowClient, experiment: str, release: Release
) -> Published:
    """Register the model of models/, unless it is; the alias is moved as its release says."""
    try:
        client.create_registered_model(MODEL_NAME, description="MNIST digits, 19,210 parameters")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{MODEL_NAME}' AND tags.{MODEL_TAG} = '{release.digest}'"
    registered = False

    def create() -> ModelVersion:
        nonlocal registered
        registered = True
        model = _logged_model(client, experiment, release)
        return client.create_model_version(
            MODEL_NAME,
            model.model_uri,
            model.source_run_id,
            tags={MODEL_TAG: release.digest},
            description=release.description,
            model_id=model.model_id,
        )

    version = find_or_create(
        lambda: client.search_model_versions(query, order_by=["version_number ASC"]),
        create,
        lambda double: client.delete_model_version(MODEL_NAME, double.version),
    )
    promoted = _promote(workspace, client, str(version.version), release.digest)
    page = f"models/{MODEL_NAME}/versions/{version.version}"
    return Published(Part.RELEASE, page, registered or promoted)


def _promote(workspace: Workspace, client: MlflowClient, version: str, digest: str) -> bool:
    """Let the alias point to this version if it points to what its release replaced.

    Without a release of it, only the first version of all gets the alias.
    """
    replaced = promotion.replaced_by(workspace, digest)
    champion = client.get_registered_model(MODEL_NAME).aliases.get(ALIAS)
    if champion is None:
        may = replaced is not None or len(client.search_model_versions(f"name='{MODEL_NAME}'")) == 1
    elif str(champion) == version:
        may = False
    else:
        of = client.get_model_version(MODEL_NAME, str(champion)).tags.get(MODEL_TAG)
        may = of in (replaced or ())
        if replaced is not None and not may:
            print(
                f"warning: {MODEL_NAME}@{ALIAS} stays at version {champion}, which is not the "
                "model that this release replaced; to move it all the same: MlflowClient()."
                f"set_registered_model_alias('{MODEL_NAME}', '{ALIAS}', '{version}')",
                file=sys.stderr,
            )
    if may:
        client.set_registered_model_alias(MODEL_NAME, ALIAS, version)
    promotion.forget(workspace, digest)
    return may


def _logged_model(client: MlflowClient, experiment: str, release: Release) -> LoggedModel:
    """The server's one copy of the released model, under the run that trained it."""
    metadata = release.metadata
    run = find_training(client, experiment, metadata["invocationId"], metadata["startedOn"])
    run_id = run.info.run_id
    if not run.info.end_time:  # known by its release alone, so it is not known when it ended
        client.set_terminated(run_id, "FINISHED", run.info.start_time)
    tags = {MODEL_TAG: release.digest}
    query = f"tags.{MODEL_TAG} = '{release.digest}'"
    model = find_or_create(
        lambda: client.search_logged_models([experiment], query),
        lambda: client.create_logged_model(experiment, "model", run_id, tags),
        lambda double: client.delete_logged_model(double.model_id),
    )
    if run.outputs is None or model.model_id not in {m.model_id for m in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            save_model(release.model, folder, Model(run_id=run_id, model_id=model.model_id))
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model


def save_model(content: bytes, folder: Path, model: Model) -> None:
    """Write an ONNX model to `folder` in MLflow's form, with signature and example."""
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28), "images")]),
        outputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, 10), "logits"),
                TensorSpec(np.dtype(np.float32), (-1, 10), "probabilities"),
            ]
        ),
    )
    mlflow.onnx.save_model(
        onnx.load_from_string(content),
        folder,
        mlflow_model=model,
        signature=signature,
        input_example=EXAMPLE,
        pip_requirements=[f"onnx=={onnx.__version__}", "onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
