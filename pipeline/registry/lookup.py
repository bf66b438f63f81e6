"""A model by its name: the released one, a file, or one that MLflow has registered."""

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.inference.classifier import Classifier

LOG = logging.getLogger(__name__)
URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def open_classifier(name: str | None = None, **options: Any) -> Classifier:
    """The classifier of a file or of `models:/NAME@ALIAS`; none: the released model.

    `options` are those of Classifier. UserError if the model is missing, another one or broken.
    """
    if name is None or not name.startswith("models:/"):
        return Classifier(name, **options)
    with tempfile.TemporaryDirectory() as scratch:
        path, digest = download(name, Path(scratch))
        if digest is None:
            LOG.warning("%s is not verified: MLflow has no SHA-256 of it", name)
        return Classifier(path, sha256=digest, **options)


def download(uri: str, folder: Path) -> tuple[Path, str | None]:
    """The ONNX file of a registered model, put into `folder`, and its SHA-256 as registered.

    `uri` is `models:/NAME@ALIAS` or `models:/NAME/VERSION`. UserError if there is no such model.
    """
    parts = URI.fullmatch(uri)
    if parts is None:
        raise UserError(f"{uri} is neither models:/NAME@ALIAS nor models:/NAME/VERSION")
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise UserError(f"{uri} needs the package {error.name}, which is not installed") from error
    from pipeline.tracking.publisher import describe
    from pipeline.tracking.registry import MODEL_FILE, MODEL_TAG
    from pipeline.tracking.store import correct_addresses, database

    name, alias, number = parts["name"], parts["alias"], parts["version"]
    place = database()
    if place is not None and not place.exists():  # MLflow would make an empty one
        raise UserError(
            f"{uri} cannot be had: {place} is missing; run from the folder that holds it, or set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        correct_addresses()
        client = mlflow.MlflowClient()
        if alias:
            version = client.get_model_version_by_alias(name, alias)
        else:
            version = client.get_model_version(name, number)
        found = f"models:/{name}/{version.version}/{MODEL_FILE}"
        path = mlflow.artifacts.download_artifacts(found, dst_path=str(folder))
    except UserError:
        raise
    except Exception as error:  # of MLflow, of its transport or of its storage
        raise UserError(f"{uri} cannot be had: {describe(error)}") from error
    return Path(path), version.tags.get(MODEL_TAG)
