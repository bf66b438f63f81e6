"""The network, row by row, and the ONNX file made from it."""

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
from pipeline.core.files import read_json, read_tensors, sha256
from pipeline.core.paths import EXPORT_REPORT, MODEL, TRAIN, WEIGHTS
from pipeline.inference.session import OnnxModel
from pipeline.mnist.network import Classifier, build_network, count_parameters, layer_table
from pipeline.stages import export
from tests.digits import make_digits

# The layer table that the network is specified by.
TABLE = """
Conv2d-1 16x28x28 160, ReLU-2 16x28x28 0, Dropout-3 16x28x28 0, BatchNorm2d-4 16x28x28 32,
Conv2d-5 16x28x28 2320, ReLU-6 16x28x28 0, Dropout-7 16x28x28 0, BatchNorm2d-8 16x28x28 32,
Conv2d-9 16x28x28 2320, ReLU-10 16x28x28 0, MaxPool2d-11 16x14x14 0,
Conv2d-12 16x12x12 2320, ReLU-13 16x12x12 0, Dropout-14 16x12x12 0, BatchNorm2d-15 16x12x12 32,
Conv2d-16 16x10x10 2320, ReLU-17 16x10x10 0, Dropout-18 16x10x10 0, BatchNorm2d-19 16x10x10 32,
Conv2d-20 16x8x8 2320, ReLU-21 16x8x8 0, BatchNorm2d-22 16x8x8 32,
Conv2d-23 16x6x6 2320, ReLU-24 16x6x6 0, Conv2d-25 32x4x4 4640, Conv2d-26 10x4x4 330,
AvgPool2d-27 10x1x1 0
"""


def test_the_network_is_the_specified_one_row_by_row() -> None:
    rows = [
        f"{name} {'x'.join(map(str, shape[1:]))} {count}"
        for name, shape, count in layer_table(build_network())
    ]
    assert rows == " ".join(TABLE.split()).split(", ")
    assert count_parameters(build_network()) == 19_210


def test_dropout_rates_go_to_the_four_layers_in_order() -> None:
    network = build_network((0.1, 0.2, 0.3, 0.4))
    rates = [layer.p for layer in network if isinstance(layer, torch.nn.Dropout)]
    assert rates == [0.1, 0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def network() -> torch.nn.Sequential:
    """A network with weights and statistics that are not those of a fresh one."""
    torch.manual_seed(0)
    network = build_network().train()
    images = torch.from_numpy(make_digits(200, seed=1)[0])
    with torch.no_grad():
        Classifier(network)(images)  # moves the statistics of BatchNorm
    return network.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, network: torch.nn.Module) -> Path:
    """A folder in which the stage has run."""
    folder = tmp_path_factory.mktemp("export")
    images, labels = make_digits(200, seed=1)
    for path in (TRAIN, WEIGHTS):
        (folder / path).parent.mkdir(parents=True)
    data = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels)}
    save_file(data, folder / TRAIN)
    save_file(network.state_dict(), folder / WEIGHTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        export.run(Export(opset=18, parity_images=150))
    return folder


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_it_takes_raw_images_in_batches_of_any_size(
    folder: Path, network: torch.nn.Module, count: int
) -> None:
    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    logits, probabilities = session.run(None, {"images": images})
    with torch.inference_mode():
        # by hand: scale to 0..1, standardise by MNIST's mean and deviation
        inputs = (torch.from_numpy(images)[:, None] / 255.0 - 0.1307) / 0.3081
        expected = network(inputs).flatten(1)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected.softmax(1), atol=1e-5)
    assert logits.dtype == probabilities.dtype == np.float32


def test_wrong_input_is_refused_by_the_model_itself(folder: Path) -> None:
    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    for images in (np.zeros((1, 28, 28), np.float32), np.zeros((1, 27, 28), np.uint8)):
        with pytest.raises(Exception, match=r"tensor\(float\)|invalid dimensions"):
            session.run(None, {"images": images})


def test_the_interface_is_named_and_typed(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape[1:] == [28, 28]
    assert isinstance(images.shape[0], str)
    assert [output.name for output in session.get_outputs()] == ["logits", "probabilities"]
    assert all(output.shape[1] == 10 for output in session.get_outputs())


def test_the_file_holds_the_fused_network(folder: Path) -> None:
    """Else everyone who runs it pays for steps that change nothing."""
    kinds = [node.op_type for node in onnx.load(folder / MODEL).graph.node]
    assert [kinds.count(kind) for kind in ("Conv", "BatchNormalization", "Gemm")] == [7, 2, 1]
    assert not {"Div", "AveragePool", "Dropout"} & {*kinds}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_many_images_are_answered_in_their_order_however_they_are_shared_out(
    folder: Path, threads: int
) -> None:
    images = make_digits(101, seed=3)[0]
    model = OnnxModel(folder / MODEL, threads=threads)
    expected = model.session.run(None, {"images": images})
    for batch_size in (1, 7, 32, 100, 101, 500):
        for values, wanted in zip(model.run(images, batch_size), expected, strict=True):
            np.testing.assert_allclose(values, wanted, atol=1e-4)
    assert [values.shape for values in model.run(images[:0])] == [(0, 10), (0, 10)]


def test_a_model_that_is_replaced_while_it_is_used_stays_the_same(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((folder / MODEL).read_bytes())
    model = OnnxModel(path, threads=2)
    path.write_bytes(b"another")
    images = make_digits(70, seed=3)[0]
    at_once, shared = (model.run(images, batch_size)[0] for batch_size in (70, 10))
    np.testing.assert_allclose(shared, at_once, atol=1e-4)


def test_metadata_says_what_it_was_made_from(folder: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(folder / MODEL).metadata_props}
    assert properties["classes"] == "0,1,2,3,4,5,6,7,8,9"
    assert properties["parameters"] == "19210"
    assert properties["data_sha256"] == sha256(folder / TRAIN)
    assert properties["weights_sha256"] == sha256(folder / WEIGHTS)
    deciles = [float(decile) for decile in properties["mean_pixel_deciles"].split(",")]
    means = read_tensors(folder / TRAIN)["images"].mean((1, 2))
    shares = np.histogram(means, [0, *deciles, 255])[0] / len(means)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
    assert properties["version"] == "1"


def test_no_trace_of_the_machine_is_in_the_file(folder: Path) -> None:
    content = (folder / MODEL).read_bytes()
    for trace in (str(Path.cwd()), ".py", "site-packages", "stack_trace"):
        assert trace.encode() not in content


def test_the_report_states_the_parity(folder: Path) -> None:
    report = read_json(folder / EXPORT_REPORT)
    assert report["model_sha256"] == sha256(folder / MODEL)
    assert report["model_bytes"] == (folder / MODEL).stat().st_size
    assert (report["parity_images"], report["parameters"]) == (150, 19_210)
    assert 0 < report["max_logit_difference"] < 1e-4
    assert report["prediction_differences"] == 0


def test_the_same_weights_give_the_same_bytes_at_any_commit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each commit makes another file of one model, and another version in the registry."""
    before = sha256(folder / MODEL)
    monkeypatch.chdir(folder)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    commit = ["commit", "--allow-empty", "--quiet", "--message", "another commit"]
    subprocess.run(["git", *identity, *commit], check=True)
    export.run(Export(opset=18, parity_images=10))
    assert sha256(MODEL) == before


@pytest.mark.parametrize("weights", ["missing", "noise", "of another network"])
def test_weights_that_do_not_fit_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.chdir(tmp_path)
    WEIGHTS.parent.mkdir(parents=True)
    if weights == "noise":
        WEIGHTS.write_bytes(b"noise" * 100)
    if weights == "of another network":
        save_file(torch.nn.Linear(2, 2).state_dict(), WEIGHTS)
    with pytest.raises(UserError, match=r"artifacts/weights.safetensors") as error:
        export.run(Export(opset=18, parity_images=10))
    assert "\n" not in str(error.value)
    assert str(error.value).count("artifacts/weights.safetensors") == 1
