"""Workspaces that are ready for a release, made quickly, with models of chosen answers."""

import base64
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from pipeline.core.files import sha256, write_bytes, write_json, write_text
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders, PredictionSet
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.inference import golden
from pipeline.inference.choice import pack
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.mnist import TASK
from pipeline.registry import acts, answers
from pipeline.registry.folder import FIGURES, Release
from tests.checkout import PROJECT
from tests.reports import (
    BEHAVIOUR,
    METRICS,
    TRAINING,
    gate_params,
    write_evaluation,
    write_training,
    write_verdict,
)

PNG = base64.b64decode(  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
MARGIN = 0.1  # of the release rule, for so few test images
IMAGES = 100  # of the test set, all of the first class


def make_workspace(folder: Path, task: Task = TASK) -> Workspace:
    """Make a workspace with a released model and a new model that passed the gate.

    Both predict the same until `answer` changes that.
    """
    workspace = Workspace(folder)
    workspace.models.mkdir(parents=True)
    text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    text, number = re.subn(r"(\n  margin: )[\d.]+", rf"\g<1>{MARGIN}", text)
    assert number == 1
    write_text(workspace.params, text)
    for name in FIGURES:
        write_bytes(workspace.evaluation_reports / name, PNG)
    write_training(workspace)
    write_training_set(workspace, np.zeros((40, task.form.height, task.form.width), np.uint8))
    shutil.copy(workspace.training_set, workspace.calibration_set)
    stub(workspace.models / f"{task.model}.onnx", column=0, task=task)
    stub(workspace.model, column=1, task=task)
    answer(workspace, 0, 0, task)
    return workspace


def make_release(
    workspace: Workspace,
    variation: int = 0,
    *,
    verdict: str = "not inferior",
    promoted: bool = True,
    task: Task = TASK,
    run_id: str = "0" * 32,
    card: str = "---\nlicense: mit\n---\n# mnist-cnn\n",
) -> Release:
    """Register a release with all its files, and promote it unless told otherwise.

    Its model predicts the class given by the pixel at row 0 and column `variation`.
    """
    images = golden_images(task)
    with acts.new_folder(workspace) as folder:
        path = folder / f"{task.model}.onnx"
        stub(path, column=variation, task=task)
        model = OnnxModel(path)
        write_text(folder / "MODEL_CARD.md", card)
        JudgedProviders(
            model_sha256=model.sha256,
            providers=["CPUExecutionProvider"],
            max_logit_difference=0.5,
            max_novelty_difference=0.5,
            images=pack(images[:4]),
        ).write(folder / JUDGED_PROVIDERS)
        METRICS.write(folder / "metrics.json")
        BEHAVIOUR.model_copy(update={"model_sha256": model.sha256}).write(folder / "behaviour.json")
        metadata = {"invocationId": run_id, "startedOn": TRAINING.started}
        write_json(
            folder / "provenance.json",
            {
                "subject": [{"name": path.name, "digest": {"sha256": model.sha256}}],
                "predicate": {"runDetails": {"metadata": metadata}},
            },
        )
        for name in FIGURES:
            write_bytes(folder / name, PNG)
        answers.Answers.of(model.sha256, "a" * 64, np.zeros(10, np.int64)).write(
            folder / "answers.json"
        )
        write_json(folder / "golden.json", golden.make(model, images))
        write_json(folder / "bom.json", {"bomFormat": "CycloneDX"})
        acts.seal(folder)
        release = acts.register(workspace, folder, verdict)
    return acts.promote(workspace, release.number, "test") if promoted else release


def golden_images(task: Task = TASK) -> NDArray[np.uint8]:
    """Images on which models of different variations differ, uint8 [100, H, W]."""
    images = np.zeros((golden.IMAGES, task.form.height, task.form.width), np.uint8)
    images[:, 0] = np.arange(images[:, 0].size).reshape(images[:, 0].shape) * 7 % len(task.labels)
    return images


def answer(workspace: Workspace, only_old: int, only_new: int, task: Task = TASK) -> None:
    """Set how many test images only the released or only the new model classifies correctly.

    The reports then match the model and the test set, and the gate has passed.
    """
    images = np.zeros((IMAGES, task.form.height, task.form.width), np.uint8)
    images[:only_old, 0, 1] = 7
    images[only_old : only_old + only_new, 0, 0] = 7
    write_test_set(workspace, images)
    pass_gate(workspace, task.labels)


def write_test_set(workspace: Workspace, images: NDArray[np.uint8]) -> None:
    workspace.test_set.parent.mkdir(exist_ok=True)
    save_file({"images": images, "labels": np.zeros(len(images), np.uint8)}, workspace.test_set)


def write_live_set(workspace: Workspace, images: NDArray[np.uint8]) -> None:
    save_file({"images": images, "labels": np.zeros(len(images), np.uint8)}, workspace.live_set)


def write_training_set(workspace: Workspace, images: NDArray[np.uint8]) -> None:
    workspace.training_set.parent.mkdir(exist_ok=True)
    save_file({"images": images, "labels": np.zeros(len(images), np.uint8)}, workspace.training_set)


def pass_gate(workspace: Workspace, labels: Sequence[str] = TASK.labels) -> None:
    """Write reports on the current model and test set, with a passed gate."""
    model, test_set = sha256(workspace.model), sha256(workspace.test_set)
    live = {"live_sha256": sha256(workspace.live_set)} if workspace.live_set.exists() else {}
    write_evaluation(workspace, labels=labels, model_sha256=model, test_sha256=test_set, **live)
    write_verdict(workspace, passed=True, model_sha256=model, test_sha256=test_set)
    section = f"\ngate: {gate_params(test_set).model_dump_json()}\n\n"
    text = workspace.params.read_text(encoding="utf-8")
    text = re.sub(r"\ngate:.*?\n(?=\w)", lambda _: section, text, flags=re.DOTALL)
    workspace.params.write_text(text, encoding="utf-8")


def stub(path: Path, column: int, task: Task = TASK, *, signed: bool = True) -> None:
    """Write a model that predicts the class given by the pixel at row 0 and `column`."""
    shape: list[str | int | None] = ["N", task.form.height, task.form.width]
    classes = len(task.labels)
    nodes = [
        helper.make_node("Gather", ["images", "zero"], ["rows"], axis=1),
        helper.make_node("Gather", ["rows", "column"], ["values"], axis=1),
        helper.make_node("Cast", ["values"], ["classes"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["classes", "depth", "range"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceMax", ["logits", "axis"], ["novelty"], keepdims=0),  # 1
    ]
    constants = {"zero": 0, "column": column, "depth": classes, "axis": [1]}
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])
            for name in ("logits", "probabilities")
        ]
        + [helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
        + [numpy_helper.from_array(np.array([0, 1], np.float32), "range")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if signed:
        helper.set_model_props(model, signature(task).to_metadata())
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def signature(task: Task = TASK) -> Signature:
    """The signature of a model from the training that `write_training` reports."""
    return Signature.of(
        task,
        mean_pixel_deciles=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
        novelty_threshold=2.0,
        sets=(PredictionSet(coverage=0.9, least_probability=0.2),),
        parameters=19_210,
        data_sha256="d" * 64,
        weights_sha256="e" * 64,
        detector_sha256="b" * 64,
    )
