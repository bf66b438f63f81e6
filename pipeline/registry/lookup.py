"""A model by its name: the released one, a file, or one that MLflow has registered."""

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError, first_line
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature

MODEL_TAG = "sha256"  # of a model version: the digest of the file that it holds
MODEL_FILE = "model.onnx"  # its name in MLflow's form of a model
LOG = logging.getLogger(__name__)
URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def open_classifier(
    name: str | None = None, workspace: Workspace | None = None, **options: Any
) -> Classifier:
    """The classifier of a file or of `models:/NAME@ALIAS`; none: the released model.

    MLflow is that of `workspace`, else of the one around the current folder. `options` are those
    of Classifier. UserError if the model is missing, another one or broken.
    """
    if name is None or not name.startswith("models:/"):
        return Classifier(name, **options)
    with tempfile.TemporaryDirectory() as scratch:
        path, digest = download(name, Path(scratch), workspace)
        if digest is None:
            LOG.warning("%s is not verified: MLflow has no SHA-256 of it", name)
        try:
            return Classifier(path, sha256=digest, **options)
        except UserError as error:  # which names a file that is gone when it is read
            told = str(error).replace(str(path), name)
            if alias := re.search("@.*", name):
                told = f"{told}; {name[: alias.start()]}/VERSION names another version"
            raise UserError(told) from error


def download(uri: str, folder: Path, workspace: Workspace | None = None) -> tuple[Path, str | None]:
    """The ONNX file of a registered model, put into `folder`, and its SHA-256 as registered.

    `uri` is `models:/NAME@ALIAS` or `models:/NAME/VERSION`. UserError if there is no such model.
    """
    match = URI.fullmatch(uri)
    if match is None:
        raise UserError(f"{uri} is neither models:/NAME@ALIAS nor models:/NAME/VERSION")
    import mlflow

    from pipeline.tracking import store
    from pipeline.tracking.publisher import describe

    name, alias, number = match["name"], match["alias"], match["version"]
    workspace = workspace or _workspace()
    address = store.address(workspace.root)
    database = store.database(address)
    if database is not None and not database.exists():  # MLflow would make an empty one
        raise UserError(
            f"{uri} cannot be loaded: {database} is missing; run in its workspace, name that "
            "with --workspace, or set MLFLOW_TRACKING_URI"
        )
    try:
        store.correct_addresses(address)
        client = mlflow.MlflowClient(address)
        if alias:
            version = client.get_model_version_by_alias(name, alias)
        else:
            version = client.get_model_version(name, number)
        found = client.get_model_version_download_uri(name, version.version)
        path = mlflow.artifacts.download_artifacts(
            f"{found}/{MODEL_FILE}", dst_path=str(folder), tracking_uri=address
        )
    except UserError:
        raise
    except Exception as error:  # of MLflow, of its transport or of its storage
        raise UserError(f"{uri} cannot be loaded: {describe(error, workspace)}") from error
    return Path(path), version.tags.get(MODEL_TAG)


def read_signature(content: bytes) -> Signature:
    """The signature in an ONNX file. ValueError if there is none, or if it is no such file."""
    import onnx  # which predicting does not need

    try:
        found = onnx.load_from_string(content).metadata_props
    except Exception as error:  # protobuf's DecodeError, which has no other base
        raise ValueError(f"it is no ONNX file: {first_line(error)}") from error
    return Signature.from_metadata({entry.key: entry.value for entry in found})


def _workspace() -> Workspace:
    """The workspace around the current folder, whose store it is; else the current folder."""
    try:
        return Workspace.find()
    except UserError:
        return Workspace(Path())
