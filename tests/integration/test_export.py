"""The exported ONNX file, run by ONNX Runtime, and the export report."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from pipeline.config import Export
from pipeline.core.errors import UserError
from pipeline.core.files import read_tensors, sha256
from pipeline.core.reports import CalibrationReport, ExportReport, PredictionSet
from pipeline.core.workspace import Workspace
from pipeline.inference.session import OnnxModel
from pipeline.mnist import TASK
from pipeline.mnist.network import build_network
from pipeline.stages import export
from pipeline.training.detector import ENERGY, build_detector
from pipeline.training.network import Classifier
from tests.digits import make_digits

RULES = tuple(PredictionSet(coverage=c, least_probability=p) for c, p in ((0.9, 0.5), (0.99, 0.1)))


@pytest.fixture(scope="module")
def network() -> torch.nn.Sequential:
    """A network whose weights and BatchNorm statistics differ from the initial ones."""
    torch.manual_seed(0)
    network = build_network().train()
    images = torch.from_numpy(make_digits(200, seed=1)[0])
    with torch.no_grad():
        Classifier(network, TASK)(images)  # updates the statistics of BatchNorm
    return network.eval()


@pytest.fixture(scope="module")
def detector() -> torch.nn.Sequential:
    """A detector with random weights."""
    torch.manual_seed(1)
    return build_detector(TASK).eval()


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, network: torch.nn.Module, detector: torch.nn.Module
) -> Workspace:
    """A workspace in which the stage has run."""
    workspace = Workspace(tmp_path_factory.mktemp("export"))
    images, labels = map(torch.from_numpy, make_digits(200, seed=1))
    for path in (workspace.training_set, workspace.weights):
        path.parent.mkdir(parents=True)
    save_file({"images": images, "labels": labels}, workspace.training_set)
    save_file(network.state_dict(), workspace.weights)
    save_file(detector.state_dict(), workspace.detector)
    CalibrationReport(
        weights_sha256=sha256(workspace.weights),
        detector_sha256=sha256(workspace.detector),
        calibration_sha256="",
        images=20,
        refused=0.1,
        novelty_threshold=0.25,
        sets=RULES,
    ).write(workspace.calibration_report)
    export.run(workspace, Export(opset=18, parity_images=150), TASK)
    return workspace


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_it_takes_raw_images_in_batches_of_any_size(
    workspace: Workspace, network: torch.nn.Module, detector: torch.nn.Module, count: int
) -> None:
    session = onnxruntime.InferenceSession(workspace.model, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    logits, probabilities, novelty = session.run(None, {"images": images})
    with torch.inference_mode():
        # scale to 0..1, standardise by MNIST's mean and standard deviation
        inputs = (torch.from_numpy(images)[:, None] / 255.0 - 0.1307) / 0.3081
        expected = network(inputs).flatten(1)
        class_, no_class = detector(inputs).flatten(1).T
        energy = -expected.logsumexp(1)
    np.testing.assert_allclose(novelty, no_class - class_ + ENERGY * energy, atol=1e-4)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected.softmax(1), atol=1e-5)
    assert logits.dtype == probabilities.dtype == novelty.dtype == np.float32
    assert novelty.shape == (count,)


def test_the_model_itself_rejects_invalid_input(workspace: Workspace) -> None:
    session = onnxruntime.InferenceSession(workspace.model, providers=["CPUExecutionProvider"])
    for images in (np.zeros((1, 28, 28), np.float32), np.zeros((1, 27, 28), np.uint8)):
        with pytest.raises(Exception, match=r"tensor\(float\)|invalid dimensions"):
            session.run(None, {"images": images})


def test_the_interface_is_named_and_typed(workspace: Workspace) -> None:
    model = onnx.load(workspace.model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(workspace.model, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape[1:] == [28, 28]
    assert isinstance(images.shape[0], str)
    shapes = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert shapes == {"logits": [10], "probabilities": [10], "novelty": []}


def test_the_file_contains_the_fused_networks(workspace: Workspace) -> None:
    """Otherwise every inference pays for operations that change nothing."""
    kinds = [node.op_type for node in onnx.load(workspace.model).graph.node]
    assert [kinds.count(kind) for kind in ("Conv", "BatchNormalization", "Gemm")] == [11, 2, 2]
    assert not {"Div", "AveragePool", "Dropout"} & {*kinds}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_keep_the_order_of_images_for_any_batch_size_and_threads(
    workspace: Workspace, threads: int
) -> None:
    images = make_digits(101, seed=3)[0]
    model = OnnxModel(workspace.model, threads=threads)
    expected = model.session.run(None, {"images": images})
    for batch_size in (1, 7, 32, 100, 101, 500):
        for values, wanted in zip(model.run(images, batch_size), expected, strict=True):
            np.testing.assert_allclose(values, wanted, atol=1e-4)
    assert [values.shape for values in model.run(images[:0])] == [(0, 10), (0, 10), (0,)]


def test_a_loaded_model_is_unaffected_when_its_file_is_replaced(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((workspace.model).read_bytes())
    model = OnnxModel(path, threads=2)
    path.write_bytes(b"another")
    images = make_digits(70, seed=3)[0]
    at_once, shared = (model.run(images, batch_size)[0] for batch_size in (70, 10))
    np.testing.assert_allclose(shared, at_once, atol=1e-4)


def test_metadata_records_what_the_model_was_made_from(workspace: Workspace) -> None:
    signature = OnnxModel(workspace.model).signature
    assert signature.labels == tuple("0123456789")
    assert signature.form == TASK.form
    assert signature.parameters == 19_210
    assert signature.data_sha256 == sha256(workspace.training_set)
    assert signature.weights_sha256 == sha256(workspace.weights)
    assert signature.detector_sha256 == sha256(workspace.detector)
    assert (signature.novelty_threshold, signature.sets) == (0.25, RULES)
    means = read_tensors(workspace.training_set)["images"].mean((1, 2))
    shares = np.histogram(means, [0, *signature.mean_pixel_deciles, 255])[0] / len(means)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_the_file_contains_no_trace_of_the_machine(workspace: Workspace) -> None:
    content = (workspace.model).read_bytes()
    for trace in (str(Path.cwd()), ".py", "site-packages", "stack_trace"):
        assert trace.encode() not in content


def test_the_report_states_the_parity(workspace: Workspace) -> None:
    report = ExportReport.read(workspace.export_report)
    assert report.model_sha256 == sha256(workspace.model)
    assert report.weights_sha256 == sha256(workspace.weights)
    assert report.model_bytes == workspace.model.stat().st_size
    assert (report.parity_images, report.parameters) == (150, 19_210)
    assert 0 < report.max_logit_difference < 1e-4
    assert 0 < report.max_novelty_difference < 1e-4
    assert report.detector_sha256 == sha256(workspace.detector)
    assert report.prediction_differences == 0


def test_the_same_weights_give_the_same_bytes_at_any_commit(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Otherwise each commit makes a new file and a new registry version of the same model."""
    twin = Workspace(shutil.copytree(workspace.root, tmp_path / "twin"))
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "init", "--quiet"], check=True, cwd=twin.root)
    commit = ["commit", "--allow-empty", "--quiet", "--message", "another commit"]
    subprocess.run(["git", *identity, *commit], check=True, cwd=twin.root)
    export.run(twin, Export(opset=18, parity_images=10), TASK)
    assert sha256(twin.model) == sha256(workspace.model)


def test_thresholds_of_other_weights_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    """They would promise what this file does not keep."""
    twin = Workspace(shutil.copytree(workspace.root, tmp_path / "twin"))
    torch.manual_seed(2)
    save_file(build_detector(TASK).state_dict(), twin.detector)
    with pytest.raises(UserError, match=r"reports/calibration.json is on other weights"):
        export.run(twin, Export(opset=18, parity_images=10), TASK)


@pytest.mark.parametrize("weights", ["missing", "noise", "of another network"])
def test_unusable_weights_are_a_one_line_error(tmp_path: Path, weights: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.weights.parent.mkdir(parents=True)
    if weights == "noise":
        workspace.weights.write_bytes(b"noise" * 100)
    if weights == "of another network":
        save_file(torch.nn.Linear(2, 2).state_dict(), workspace.weights)
    with pytest.raises(UserError, match=r"artifacts/weights.safetensors") as error:
        export.run(workspace, Export(opset=18, parity_images=10), TASK)
    assert "\n" not in str(error.value)
    assert str(error.value).count("artifacts/weights.safetensors") == 1
