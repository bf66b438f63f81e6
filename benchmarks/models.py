"""Data sets as tensors; trained networks as ONNX files, and their accuracy."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from pipeline.config import load_params
from pipeline.core.files import read_tensors, write_bytes
from pipeline.core.reports import PredictionSet
from pipeline.core.task import Task, load_task
from pipeline.core.workspace import Workspace
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.stages.export import to_onnx
from pipeline.training.fusion import ClassifierWithDetector, FusedClassifier
from pipeline.training.network import Classifier, build_network, count_parameters


def task_of(workspace: Workspace) -> Task:
    """The task that params.yaml names."""
    return load_task(load_params(workspace.params).task, workspace.root)


def read_set(path: Path) -> tuple[Tensor, Tensor]:
    """Images, uint8 [N, H, W], and labels, uint8 [N], of a set that `prepare` wrote."""
    data = read_tensors(path)
    return torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])


def model_path(workspace: Workspace, name: str) -> Path:
    """The path of the exported file of this name, which git ignores."""
    return workspace.root / "artifacts/benchmarks" / f"{name}.onnx"


def export(workspace: Workspace, network: nn.Sequential, name: str) -> Path:
    """Write the network to artifacts/benchmarks/NAME.onnx; ours is fused, as in a release."""
    path = model_path(workspace, name)
    task = task_of(workspace)
    ours = count_parameters(network) == count_parameters(build_network(task))
    build = FusedClassifier if ours else Classifier
    opset = load_params(workspace.params).export.opset
    without = ClassifierWithDetector(build(network, task), NoDetector())
    write_onnx(path, without.eval(), task, opset)
    return path


class NoDetector(nn.Module):
    """In the place of a detector: finds no image novel."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, H, W] to zeros [N]."""
        return 0 * images[:, 0, 0].float()


def write_onnx(path: Path, module: ClassifierWithDetector, task: Task, opset: int) -> None:
    """Write a file that OnnxModel runs, without thresholds and digests in its signature."""
    model = to_onnx(module, task.form, opset)
    signature = Signature.of(
        task,
        mean_pixel_deciles=(0.0,) * 9,
        novelty_threshold=0.0,
        sets=(PredictionSet(coverage=0.5, least_probability=1.0),),
        parameters=count_parameters(module.classifier),
        data_sha256="",
        weights_sha256="",
        detector_sha256="",
    )
    helper.set_model_props(model, signature.to_metadata())
    write_bytes(path, model.SerializeToString(deterministic=True))


def accuracy(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    """The file's accuracy, 0..1, in ONNX Runtime on images, uint8 [N, H, W]."""
    logits = OnnxModel(path).run(images).logits
    return 1 - int((logits.argmax(1) != labels).sum()) / len(labels)
