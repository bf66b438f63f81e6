"""Registers the released model in MLflow, under the run that trained it."""

import hashlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.core.files import existing, read_text, sha256
from pipeline.core.reports import JUDGED_PROVIDERS
from pipeline.core.workspace import Workspace
from pipeline.inference.signature import Signature
from pipeline.registry.alias import promote, warn_of_unsigned_champion
from pipeline.registry.lookup import MODEL_TAG, read_signature
from pipeline.registry.mlflow_model import save_model
from pipeline.registry.provenance import Origin
from pipeline.tracking import Component, links, store
from pipeline.tracking.runs import Published, find_or_create
from pipeline.tracking.training import find_training

ATTEMPTS, PAUSE = 20, 0.1  # seconds; a release changes models/ in less time


@dataclass(frozen=True)
class Release:
    """A consistent snapshot of models/."""

    digest: str
    model: bytes
    signature: Signature
    description: str
    origin: Origin
    providers: bytes | None  # the record of judged execution providers


def read_release(workspace: Workspace) -> Release:
    """Read models/, before any request to a server.

    UserError if its files do not belong together or if this code cannot read them.
    """
    for _ in range(ATTEMPTS):
        path = existing(workspace.released_model)
        model = path.read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        card = read_text(workspace.model_card)
        origin = Origin.read(workspace.provenance)
        record = path.with_name(JUDGED_PROVIDERS)
        providers = record.read_bytes() if record.exists() else None
        if path.exists() and origin.model_sha256 == digest == sha256(path):
            break
        time.sleep(PAUSE)
    else:
        raise UserError(f"{workspace.provenance} does not describe {path}: run `dvc repro`")
    try:
        signature = read_signature(model)
    except ValueError as error:
        raise UserError(
            f"{path} cannot be registered: {error}; to replace it, set release.allow_regression: "
            f"true in {workspace.params} and run `dvc repro`"
        ) from error
    return Release(digest, model, signature, card.split("---\n", 2)[-1], origin, providers)


def publish_release(workspace: Workspace, client: MlflowClient) -> Published | None:
    """Register the model in models/ if MLflow does not have it, and move the alias to it.

    The alias moves only if the release allows it (`alias.promote`). Warns if it keeps naming a
    model that this code cannot use. None if there is no release or in a DVC experiment.
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
    if not promoted:
        warn_of_unsigned_champion(workspace, client, name, str(version.version))
    page = f"models/{name}/versions/{version.version}"
    links.record(workspace, Component.RELEASE, page)
    return Published(Component.RELEASE, page, registered or promoted)


def _create_registered_model(client: MlflowClient, signature: Signature) -> None:
    description = f"{signature.subject}, {signature.parameters:,} parameters"
    try:
        client.create_registered_model(signature.model, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(client: MlflowClient, release: Release) -> LoggedModel:
    """The only logged model of the release on the server, under the run that trained it."""
    experiment = store.experiment_id(client, store.experiment_name(release.signature.model))
    run = find_training(client, experiment, release.origin.run_id, release.origin.started)
    run_id = run.info.run_id
    if not run.info.end_time:  # only the release is known, so its end is not
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
            if release.providers is not None:
                (folder / JUDGED_PROVIDERS).write_bytes(release.providers)
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model
