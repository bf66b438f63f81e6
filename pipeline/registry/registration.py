"""The released model in MLflow: registered under the run that trained it, and the champion."""

import hashlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.core.files import existing, read_text, sha256
from pipeline.core.task import ImageForm
from pipeline.core.workspace import Workspace
from pipeline.inference.signature import Signature
from pipeline.registry import promotion
from pipeline.registry.lookup import MODEL_TAG
from pipeline.registry.provenance import Origin
from pipeline.tracking import Component, links, store
from pipeline.tracking.runs import Published, find_or_create
from pipeline.tracking.training import find_training

ALIAS = "champion"
ATTEMPTS, PAUSE = 20, 0.1  # seconds; a release takes less to change models/


@dataclass(frozen=True)
class Release:
    """What is in models/ at one moment."""

    digest: str
    model: bytes
    signature: Signature
    description: str
    origin: Origin


def read_release(workspace: Workspace) -> Release:
    """Read models/ before a server is asked.

    UserError if its files do not belong together, or cannot be read by this code.
    """
    for _ in range(ATTEMPTS):
        path = existing(workspace.released_model)
        model = path.read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        card = read_text(workspace.model_card)
        origin = Origin.read(workspace.provenance)
        if path.exists() and origin.model_sha256 == digest == sha256(path):
            description = card.split("---\n", 2)[-1]
            return Release(digest, model, _signature(path, model), description, origin)
        time.sleep(PAUSE)
    raise UserError(f"{workspace.provenance} is not of {workspace.released_model}: run `dvc repro`")


def publish_release(workspace: Workspace, client: MlflowClient) -> Published | None:
    """Register the model of models/, unless it is; the alias moves as its release says.

    None if there is no release. An experiment of DVC registers none.
    """
    if environment.experiment() or not workspace.released_model.exists():
        return None
    release = read_release(workspace)
    name, digest = release.signature.model, release.digest
    _create_registered_model(client, release.signature)
    query = f"name = '{name}' AND tags.{MODEL_TAG} = '{digest}'"
    registered = False

    def create() -> ModelVersion:
        nonlocal registered
        registered = True
        model = _logged_model(client, release)
        return client.create_model_version(
            name,
            model.model_uri,
            model.source_run_id,
            tags={MODEL_TAG: digest},
            description=release.description,
            model_id=model.model_id,
        )

    version = find_or_create(
        lambda: client.search_model_versions(query, order_by=["version_number ASC"]),
        create,
        lambda duplicate: client.delete_model_version(name, duplicate.version),
    )
    promoted = promote(workspace, client, name, str(version.version), digest)
    page = f"models/{name}/versions/{version.version}"
    links.record(workspace, Component.RELEASE, page)
    return Published(Component.RELEASE, page, registered or promoted)


def promote(
    workspace: Workspace, client: MlflowClient, name: str, version: str, digest: str
) -> bool:
    """Let the alias point to this version if it points to what its release replaced.

    Without a pending release of it, only the first version of all gets the alias.
    """
    replaced = promotion.replaced_by(workspace, digest)
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    if champion is None:
        may = replaced is not None or len(client.search_model_versions(f"name='{name}'")) == 1
    elif str(champion) == version:
        may = False
    else:
        current = client.get_model_version(name, str(champion)).tags.get(MODEL_TAG)
        may = current in (replaced or ())
        if replaced is not None and not may:
            print(
                f"warning: {name}@{ALIAS} stays at version {champion}, which is not the "
                "model that this release replaced; to move it all the same: MlflowClient()."
                f"set_registered_model_alias('{name}', '{ALIAS}', '{version}')",
                file=sys.stderr,
            )
    if may:
        client.set_registered_model_alias(name, ALIAS, version)
    promotion.clear(workspace, digest)
    return may


def _signature(path: Path, model: bytes) -> Signature:
    try:
        found = onnx.load_from_string(model).metadata_props
        return Signature.from_metadata({entry.key: entry.value for entry in found})
    except Exception as error:  # also protobuf's DecodeError
        raise UserError(f"{path} cannot be registered: {error}") from error


def _create_registered_model(client: MlflowClient, signature: Signature) -> None:
    description = f"{signature.subject}, {signature.parameters:,} parameters"
    try:
        client.create_registered_model(signature.model, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(client: MlflowClient, release: Release) -> LoggedModel:
    """The server's one copy of the released model, under the run that trained it."""
    experiment = store.experiment_id(client, store.experiment_name(release.signature.model))
    run = find_training(client, experiment, release.origin.run_id, release.origin.started)
    run_id = run.info.run_id
    if not run.info.end_time:  # known by its release alone, so it is not known when it ended
        client.set_terminated(run_id, "FINISHED", run.info.start_time)
    tags = {MODEL_TAG: release.digest}
    query = f"tags.{MODEL_TAG} = '{release.digest}'"
    model = find_or_create(
        lambda: client.search_logged_models([experiment], query),
        lambda: client.create_logged_model(experiment, "model", run_id, tags),
        lambda duplicate: client.delete_logged_model(duplicate.model_id),
    )
    if run.outputs is None or model.model_id not in {m.model_id for m in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            made = Model(run_id=run_id, model_id=model.model_id)
            save_model(release.model, release.signature, folder, made)
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model


def save_model(content: bytes, signature: Signature, folder: Path, model: Model) -> None:
    """Write an ONNX model to `folder` in MLflow's form, with signature and example."""
    form, classes = signature.form, len(signature.labels)
    tensors = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, form.height, form.width), "images")]),
        outputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, classes), name)
                for name in ("logits", "probabilities")
            ]
        ),
    )
    mlflow.onnx.save_model(
        onnx.load_from_string(content),
        folder,
        mlflow_model=model,
        signature=tensors,
        input_example=example_image(form),
        pip_requirements=[f"onnx=={onnx.__version__}", "onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )


def example_image(form: ImageForm) -> NDArray[np.uint8]:
    """An image with a vertical stroke, uint8 [1, H, W]."""
    image = np.zeros((1, form.height, form.width), np.uint8)
    margin, middle = (form.height - form.ink) // 2, form.width // 2
    image[0, margin : form.height - margin, middle - 1 : middle + 2] = 255
    return image
