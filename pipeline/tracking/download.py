"""A registered model, brought from MLflow."""

import re
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.tracking.publisher import describe
from pipeline.tracking.registry import MODEL_FILE, MODEL_TAG
from pipeline.tracking.store import correct_addresses, database

URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def download(uri: str, folder: Path) -> tuple[Path, str | None]:
    """The ONNX file of a registered model, put into `folder`, and its SHA-256 as registered.

    `uri` is `models:/NAME@ALIAS` or `models:/NAME/VERSION`. UserError if there is no such model.
    """
    parts = URI.fullmatch(uri)
    if parts is None:
        raise UserError(f"{uri} is neither models:/NAME@ALIAS nor models:/NAME/VERSION")
    name, alias, number = parts["name"], parts["alias"], parts["version"]
    place = database()
    if place is not None and not place.exists():  # MLflow would make an empty one
        raise UserError(
            f"{uri} cannot be had: {place} is missing; run from the folder that holds it, or set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        correct_addresses()
        client = MlflowClient()
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
