"""What the release decides by, and says of its origin, on models and folders made in a moment."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from pipeline.config import load_params
from pipeline.core import paths
from pipeline.core.errors import RefusedError, UserError
from pipeline.registry import provenance
from pipeline.stages import release
from tests.workspace import PROJECT


def stub(path: Path, column: int, answers: int = 10, image: int = 28) -> None:
    """A model that reads its answer, 0 to 9, from the first row of an image, at `column`."""
    shape: list[str | int | None] = ["N", image, image]
    nodes = [
        helper.make_node("Gather", ["images", "zero"], ["rows"], axis=1),
        helper.make_node("Gather", ["rows", "column"], ["values"], axis=1),
        helper.make_node("Cast", ["values"], ["digits"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["digits", "depth", "range"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {"zero": 0, "column": column, "depth": answers}
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", answers])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
        + [numpy_helper.from_array(np.array([0, 1], np.float32), "range")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models, whose answers `answered` writes into the test images."""
    monkeypatch.chdir(tmp_path)
    stub(paths.RELEASED_MODEL, column=0)
    stub(paths.MODEL, column=1)
    answered(0, 0)
    return tmp_path


def answered(only_old: int, only_new: int) -> None:
    """Test images, all of a 0, of which so many only the old or only the new model gets right."""
    images = np.zeros((100, 28, 28), np.uint8)
    images[:only_old, 0, 1] = 7
    images[only_old : only_old + only_new, 0, 0] = 7
    paths.TEST.parent.mkdir(exist_ok=True)
    save_file({"images": images, "labels": np.zeros(100, np.uint8)}, paths.TEST)


def compare(**settings: Any) -> None:
    params = load_params(PROJECT / "params.yaml")
    changed = params.release.model_copy(update=settings)
    release.compare_with_released(params.model_copy(update={"release": changed}))


@pytest.mark.parametrize(
    ("only_old", "only_new", "significance", "refused"),
    [
        (20, 8, 0.05, True),  # p = 0.036
        (14, 8, 0.05, False),  # p = 0.29: fewer right, but that may be chance
        (8, 20, 0.05, False),
        (6, 0, 0.05, True),  # p = 2 / 2^6
        (5, 0, 0.05, False),  # p = 2 / 2^5
        (5, 0, 0.07, True),
        (20, 8, 0.03, False),
        (1, 0, 1.0, False),  # p = 1 is not below any level
        (0, 0, 1.0, False),
    ],
)
def test_only_a_significantly_worse_model_is_refused(
    stubs: Path, only_old: int, only_new: int, significance: float, refused: bool
) -> None:
    """One that may be as good is released, one that a user would notice is not."""
    answered(only_old, only_new)
    if refused:
        with pytest.raises(RefusedError, match=f"right on {only_old} .*new one on {only_new},"):
            compare(significance=significance)
        compare(significance=significance, allow_regression=True)
    else:
        compare(significance=significance)


@pytest.mark.parametrize("fault", ["broken", "other interface", "larger images", "more classes"])
def test_a_released_model_that_cannot_be_compared_blocks_no_release_for_ever(
    stubs: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "broken":
        paths.RELEASED_MODEL.write_bytes(b"noise")
    elif fault == "other interface":
        model = onnx.load(paths.RELEASED_MODEL)
        model.graph.output.pop()
        onnx.save(model, paths.RELEASED_MODEL)
    else:
        size = {"larger images": {"image": 32}, "more classes": {"answers": 26}}[fault]
        stub(paths.RELEASED_MODEL, column=0, **size)
    with pytest.raises(RefusedError, match=r"cannot be compared: .*allow_regression") as error:
        compare()
    assert "\n" not in str(error.value)
    compare(allow_regression=True)
    assert "allow_regression is true" in capsys.readouterr().out


def test_a_new_model_that_does_not_run_is_no_matter_of_comparison(stubs: Path) -> None:
    paths.MODEL.write_bytes(b"noise")
    with pytest.raises(UserError, match=r"artifacts/model\.onnx cannot be loaded"):
        compare(allow_regression=True)


def test_both_models_run_where_the_evaluation_did(stubs: Path) -> None:
    """What decides is measured as the metrics were: on a GPU, if that is the provider."""
    params = load_params(PROJECT / "params.yaml")
    provider = params.evaluate.model_copy(update={"provider": "MissingExecutionProvider"})
    with pytest.raises(UserError, match="MissingExecutionProvider"):
        release.compare_with_released(params.model_copy(update={"evaluate": provider}))


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://user:secret@git.example/us/digits.git", "git+https://git.example/us/digits.git"),
        ("git@git.example:us/digits.git", "git+ssh://git.example/us/digits.git"),
        ("ssh://git@git.example:22/us/digits", "git+ssh://git.example:22/us/digits"),
        ("HTTPS://user:secret@git.example/digits", "git+HTTPS://git.example/digits"),
        ("git@[::1]:us/digits", "git+ssh://[::1]/us/digits"),
        ("/home/me/digits", None),
        (r"C:\us\digits", None),
        ("ext::ssh host digits", None),
        (None, None),
    ],
)
def test_provenance_names_the_repository_but_no_password_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: str | None, uri: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    assert provenance.repository() == uri


def test_on_github_provenance_names_the_workflow_that_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "us/digits/.github/workflows/release.yml@v1")
    assert provenance.builder() == ("https://github.com/us/digits/.github/workflows/release.yml@v1")
