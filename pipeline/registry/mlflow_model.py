"""Writes an exported model in MLflow's model format."""

from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from pipeline.core.task import ImageForm
from pipeline.inference.signature import Signature


def save_model(content: bytes, signature: Signature, folder: Path, model: Model) -> None:
    """Write an ONNX model to `folder` in MLflow's format, with its signature and an example."""
    form, classes = signature.form, len(signature.labels)
    tensors = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, form.height, form.width), "images")]),
        outputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), shape, name)
                for name, shape in {
                    "logits": (-1, classes),
                    "probabilities": (-1, classes),
                    "novelty": (-1,),
                }.items()
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
