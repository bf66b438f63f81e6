"""Registers releases in MLflow, each under the run that trained it."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.core.files import read_text
from pipeline.core.reports import JUDGED_PROVIDERS
from pipeline.core.workspace import Workspace
from pipeline.inference.signature import Signature
from pipeline.registry.folder import Release, verify_checksums
from pipeline.registry.lookup import MODEL_TAG, read_signature
from pipeline.registry.mlflow_model import save_model
from pipeline.registry.provenance import Origin
from pipeline.registry.releases import Releases
from pipeline.tracking import Component, links, store
from pipeline.tracking.runs import Published, find_or_create
from pipeline.tracking.training import find_training

RELEASE_TAG = "release"  # of a model version: the number of its release


@dataclass(frozen=True)
class ReleasedModel:
    """The files of a release that MLflow shows."""

    number: int
    digest: str
    model: bytes
    signature: Signature
    description: str
    origin: Origin
    providers: bytes


def read_released(release: Release) -> ReleasedModel:
    """Read a release, before any request to a server.

    UserError if its files do not belong together or if this code cannot read them.
    """
    verify_checksums(release.folder)
    model, origin = release.model.read_bytes(), Origin.read(release.provenance)
    if origin.model_sha256 != release.sha256:
        raise UserError(f"{release.provenance} does not describe {release.model}: restore it")
    try:
        signature = read_signature(model)
    except ValueError as error:
        raise UserError(f"{release.model} cannot be registered: {error}") from error
    return ReleasedModel(
        release.number,
        release.sha256,
        model,
        signature,
        read_text(release.card).split("---\n", 2)[-1],
        origin,
        (release.folder / JUDGED_PROVIDERS).read_bytes(),
    )


def publish_releases(workspace: Workspace, client: MlflowClient) -> Published | None:
    """Register each release in models/ that MLflow does not have; moves no alias.

    Returns the page of the champion, or else of the newest release; None if there is no release or
    in a DVC experiment. Prints a warning for a release that cannot be read, but raises UserError if
    it is the champion.
    """
    if environment.experiment():
        return None
    releases = Releases.of(workspace)
    champion = releases.champion()
    models = {}
    for number, release in releases.all.items():
        try:
            models[number] = read_released(release)
        except UserError as error:
            if champion is not None and champion.number == number:
                raise
            print(f"warning: release {number} is not in MLflow: {error}", file=sys.stderr)
    if not models:
        return None
    shown, any_new, page = champion.number if champion else max(models), False, ""
    for number, model in models.items():
        version, new = register(client, model)
        any_new |= new
        if number == shown:
            page = f"models/{model.signature.model}/versions/{version.version}"
    links.record(workspace, Component.RELEASE, page)
    return Published(Component.RELEASE, page, any_new)


def register(client: MlflowClient, release: ReleasedModel) -> tuple[ModelVersion, bool]:
    """The version of a release, and whether it was created now."""
    name, digest = release.signature.model, release.digest
    _create_registered_model(client, release.signature)
    query = f"name = '{name}' AND tags.{MODEL_TAG} = '{digest}'"
    created = False

    def create() -> ModelVersion:
        nonlocal created
        created = True
        model = _logged_model(client, release)
        return client.create_model_version(
            name,
            model.model_uri,
            model.source_run_id,
            tags={MODEL_TAG: digest, RELEASE_TAG: str(release.number)},
            description=release.description,
            model_id=model.model_id,
        )

    version = find_or_create(
        lambda: client.search_model_versions(query, order_by=["version_number ASC"]),
        create,
        lambda duplicate: client.delete_model_version(name, duplicate.version),
    )
    return version, created


def _create_registered_model(client: MlflowClient, signature: Signature) -> None:
    description = f"{signature.subject}, {signature.parameters:,} parameters"
    try:
        client.create_registered_model(signature.model, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(client: MlflowClient, release: ReleasedModel) -> LoggedModel:
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
            (folder / JUDGED_PROVIDERS).write_bytes(release.providers)
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model
