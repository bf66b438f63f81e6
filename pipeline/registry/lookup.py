"""Finds a model by name: the released model, a file, or a model registered in MLflow."""

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import UserError, first_line
from pipeline.core.reports import JUDGED_PROVIDERS
from pipeline.core.workspace import Workspace
from pipeline.inference.signature import Signature

if TYPE_CHECKING:  # slow to import
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from pipeline.inference.classifier import Classifier

MODEL_TAG = "sha256"  # of a model version: the digest of its file
MODEL_FILE = "model.onnx"  # the file's name in MLflow's model format
LOG = logging.getLogger(__name__)
URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def open_classifier(
    name: str | None = None, workspace: Workspace | None = None, **options: Any
) -> "Classifier":
    """The classifier of a file, of `models:/NAME@ALIAS`, or by default of the released model.

    `workspace` determines the MLflow store; by default it is the workspace that contains the
    current folder. `options` are passed to Classifier. UserError if the model is missing, broken
    or not the registered one, or if it should be verified with keys: MLflow has no signatures.
    """
    from pipeline.inference.classifier import Classifier

    if name is None or not name.startswith("models:/"):
        return Classifier(name, **options)
    if options.get("verify"):
        raise UserError(
            f"{name} cannot be verified with a key: signatures are in models/releases, not in "
            "MLflow; name the ONNX file of a release"
        )
    with tempfile.TemporaryDirectory() as scratch:
        path, digest = download(name, Path(scratch), workspace)
        if digest is None:
            LOG.warning("%s is not verified: MLflow has no SHA-256 for it", name)
        try:
            return Classifier(path, sha256=digest, **options)
        except UserError as error:  # it names the scratch file, which the user never sees
            message = str(error).replace(str(path), name)
            if alias := re.search("@.*", name):
                message += f"; to use another version, name {name[: alias.start()]}/VERSION"
            raise UserError(message) from error


def download(uri: str, folder: Path, workspace: Workspace | None = None) -> tuple[Path, str | None]:
    """Download the ONNX file of a registered model into `folder`.

    Returns the file and its registered SHA-256, or None if MLflow has none. `uri` is
    `models:/NAME@ALIAS` or `models:/NAME/VERSION`. UserError if the model cannot be loaded.
    """
    with _connected(uri, workspace) as (client, address):
        import mlflow

        version = _find(client, uri)
        found = client.get_model_version_download_uri(version.name, version.version)
        path = mlflow.artifacts.download_artifacts(
            f"{found}/{MODEL_FILE}", dst_path=str(folder), tracking_uri=address
        )
        with suppress(Exception):  # a model without it is computed by the CPU provider
            mlflow.artifacts.download_artifacts(
                f"{found}/{JUDGED_PROVIDERS}", dst_path=str(folder), tracking_uri=address
            )
        return Path(path), version.tags.get(MODEL_TAG)


class Registered(NamedTuple):
    """A version of a model registered in MLflow."""

    uri: str  # models:/NAME/VERSION
    sha256: str | None  # of its file, if MLflow has it


def find_version(uri: str, workspace: Workspace | None = None) -> Registered:
    """The version that a URI of `download` names at present. UserError if there is none."""
    with _connected(uri, workspace) as (client, _):
        version = _find(client, uri)
        return Registered(f"models:/{version.name}/{version.version}", version.tags.get(MODEL_TAG))


@contextmanager
def _connected(uri: str, workspace: Workspace | None) -> Iterator[tuple["MlflowClient", str]]:
    """A client of the MLflow store of the workspace, and the store's address.

    UserError if the store is missing, or the block fails.
    """
    if URI.fullmatch(uri) is None:
        raise UserError(f"{uri} is neither models:/NAME@ALIAS nor models:/NAME/VERSION")
    import mlflow

    from pipeline.tracking import store
    from pipeline.tracking.publisher import describe

    workspace = workspace or _workspace()
    address = store.address(workspace.root)
    database = store.database(address)
    if database is not None and not database.exists():  # MLflow would create an empty one
        raise UserError(
            f"{uri} cannot be loaded: {database} is missing; run in the workspace of the model, "
            "name it with --workspace, or set MLFLOW_TRACKING_URI"
        )
    try:
        store.correct_addresses(address)
        yield mlflow.MlflowClient(address), address
    except UserError:
        raise
    except Exception as error:  # from MLflow, its transport or its storage
        raise UserError(f"{uri} cannot be loaded: {describe(error, workspace)}") from error


def _find(client: "MlflowClient", uri: str) -> "ModelVersion":
    match = URI.fullmatch(uri)
    assert match is not None
    if match["alias"]:
        return client.get_model_version_by_alias(match["name"], match["alias"])
    return client.get_model_version(match["name"], match["version"])


def read_signature(content: bytes) -> Signature:
    """The signature in an ONNX file. ValueError if it has none or is not an ONNX file."""
    import onnx  # prediction does not need it

    try:
        found = onnx.load_from_string(content).metadata_props
    except Exception as error:  # protobuf's DecodeError derives from Exception alone
        raise ValueError(f"it is not an ONNX file: {first_line(error)}") from error
    return Signature.from_metadata({entry.key: entry.value for entry in found})


def _workspace() -> Workspace:
    """The workspace that contains the current folder, or else the current folder itself."""
    try:
        return Workspace.find()
    except UserError:
        return Workspace(Path())
