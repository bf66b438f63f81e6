"""Trained networks as ONNX files, and what those files answer."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.config import load_params
from pipeline.core.files import read_tensors, write_bytes
from pipeline.core.paths import TEST
from pipeline.inference.session import OnnxModel
from pipeline.mnist.network import Classifier, build_network, count_parameters
from pipeline.stages.export import to_onnx
from pipeline.training.fusion import FusedClassifier

MODELS = Path("artifacts/benchmarks")  # not in git


def export(network: nn.Sequential, name: str) -> Path:
    """The network as artifacts/benchmarks/NAME.onnx; ours is fused, as a release is."""
    path = MODELS / f"{name}.onnx"
    ours = count_parameters(network) == count_parameters(build_network())
    classifier = FusedClassifier(network) if ours else Classifier(network).eval()
    model = to_onnx(classifier, load_params().export.opset)
    write_bytes(path, model.SerializeToString(deterministic=True))
    return path


def mistakes(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> int:
    """How many of the images, uint8 [N, 28, 28], ONNX Runtime gives another digit than theirs."""
    logits, _ = OnnxModel(path).run(images)
    return int((logits.argmax(1) != labels).sum())


def test_accuracy(path: Path) -> float:
    """The exported file's accuracy on the test set, 0..1."""
    test = read_tensors(TEST)
    return 1 - mistakes(path, test["images"], test["labels"]) / len(test["labels"])
