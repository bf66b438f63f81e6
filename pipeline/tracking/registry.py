"""The registered model: the release in models/, under the run that trained it."""

import tempfile
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

from pipeline import paths
from pipeline.files import read_json, sha256
from pipeline.tracking.runs import only
from pipeline.tracking.training import find_training

MODEL_NAME = paths.RELEASED_MODEL.stem
ALIAS = "champion"
MODEL_TAG = "sha256"  # a model version is found by the file that it holds
MODEL_FILE = "model.onnx"  # its name in MLflow's form of a model
EXAMPLE = np.zeros((1, 28, 28), np.uint8)
EXAMPLE[0, 5:23, 13:16] = 255  # a plain stroke: a one


def publish_release(client: MlflowClient, experiment: str) -> ModelVersion:
    """Register the model in models/, unless it is, and let the alias point to it."""
    digest = sha256(paths.RELEASED_MODEL)
    try:
        client.create_registered_model(MODEL_NAME, description="MNIST digits, 19,210 parameters")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{MODEL_NAME}' AND tags.{MODEL_TAG} = '{digest}'"

    def create() -> ModelVersion:
        model = _logged_model(client, experiment, digest)
        return client.create_model_version(
            MODEL_NAME,
            model.model_uri,
            model.source_run_id,
            tags={MODEL_TAG: digest},
            description=paths.MODEL_CARD.read_text().split("---\n", 2)[-1],
            model_id=model.model_id,
        )

    version = only(
        lambda: client.search_model_versions(query, order_by=["version_number ASC"]),
        create,
        lambda double: client.delete_model_version(MODEL_NAME, double.version),
    )
    if client.get_registered_model(MODEL_NAME).aliases.get(ALIAS) != version.version:
        client.set_registered_model_alias(MODEL_NAME, ALIAS, version.version)
    return version


def _logged_model(client: MlflowClient, experiment: str, digest: str) -> LoggedModel:
    """The server's one copy of the released model, under the run that trained it."""
    metadata = read_json(paths.PROVENANCE)["predicate"]["runDetails"]["metadata"]
    run = find_training(client, experiment, metadata["invocationId"], metadata["startedOn"])
    run_id = run.info.run_id
    if not run.info.end_time:  # known by its release alone, so it is not known when it ended
        client.set_terminated(run_id, "FINISHED", run.info.start_time)
    model = only(
        lambda: client.search_logged_models([experiment], f"tags.{MODEL_TAG} = '{digest}'"),
        lambda: client.create_logged_model(experiment, "model", run_id, {MODEL_TAG: digest}),
        lambda double: client.delete_logged_model(double.model_id),
    )
    if run.outputs is None or model.model_id not in {m.model_id for m in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            save_model(folder, Model(run_id=run_id, model_id=model.model_id))
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model


def save_model(folder: Path, model: Model) -> None:
    """Write the released model to `folder` in MLflow's form, with signature and example."""
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
        onnx.load(paths.RELEASED_MODEL),
        folder,
        mlflow_model=model,
        signature=signature,
        input_example=EXAMPLE,
        pip_requirements=[f"onnx=={onnx.__version__}", "onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
