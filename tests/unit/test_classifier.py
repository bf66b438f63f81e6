"""The library: a Classifier accepts valid input and reports what is wrong with the rest."""

import hashlib
import importlib
import logging
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.inference import Classifier, classifier, providers, released, session
from pipeline.inference.providers import CUDA
from pipeline.inference.session import OnnxModel
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits

pytestmark = needs_model


def other_model(input_name: str, kind: int, shape: list[str | int]) -> bytes:
    """A valid ONNX file that is not a model of this project."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [input_name], ["same"])],
        "other",
        [helper.make_tensor_value_info(input_name, kind, shape)],
        [helper.make_tensor_value_info("same", kind, shape)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION - 1
    )
    return bytes(model.SerializeToString())


MODELS: dict[str, Callable[[], bytes]] = {
    "text.onnx": lambda: b"not a model",
    "empty.onnx": lambda: b"",
    "cut.onnx": lambda: MODEL.read_bytes()[:50_000],
    "another-input.onnx": lambda: other_model("x", TensorProto.FLOAT, ["N", 3]),
    "another-type.onnx": lambda: other_model("images", TensorProto.FLOAT, ["N", 28, 28]),
    "another-output.onnx": lambda: other_model("images", TensorProto.UINT8, ["N", 28, 28]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_that_is_not_a_model_of_this_project_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(MODELS[name]())
    with pytest.raises(UserError, match=name):
        OnnxModel(tmp_path / name).run(make_digits(2, seed=1)[0])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the released model with its checksums."""
    for path in (MODEL, MODEL.with_name("SHA256SUMS")):
        shutil.copy(path, tmp_path)
    return tmp_path / MODEL.name


@pytest.mark.parametrize(
    "convert",
    [
        lambda images: images,
        lambda images: images.astype(np.int64),
        lambda images: images.tolist(),
        lambda images: images / 255,
        lambda images: (images / 255).astype(np.float32),
        lambda images: (images / 255).astype(np.float16),
        lambda images: np.asfortranarray(images),
        lambda images: images[:, ::-1][:, ::-1],
    ],
    ids=["uint8", "int64", "list", "float64", "float32", "float16", "column-major", "view"],
)
def test_ten_real_digits_are_classified_in_every_representation(
    ten: Images, convert: Callable[[Images], Any]
) -> None:
    found = Classifier(MODEL).predict(convert(ten))
    assert found.classes.tolist() == list(range(10))
    assert found.labels == list("0123456789")
    assert (found.confidences == found.probabilities[np.arange(10), found.classes]).all()
    expected = OnnxModel(MODEL, "auto").run(ten)
    np.testing.assert_array_equal(found.logits, expected[0])
    np.testing.assert_array_equal(found.probabilities, expected[1])


def test_an_empty_batch_gives_empty_predictions() -> None:
    answer = Classifier(MODEL).predict(np.zeros((0, 28, 28), np.uint8))
    assert answer.labels == []
    assert answer.probabilities.shape == answer.logits.shape == (0, 10)


ZEROS = np.zeros((2, 28, 28))
WRONG: dict[str, tuple[Any, str]] = {
    "one image": (ZEROS[0], r"not \[28, 28\]; one image is images\[None\]"),
    "rows": (np.zeros((5, 784)), r"not \[5, 784\]; images.reshape\(-1, 28, 28\)"),
    "channels": (np.zeros((5, 1, 28, 28)), r"not \[5, 1, 28, 28\]; images.reshape\(-1, 28, 28\)"),
    "wrong size": (np.zeros((5, 32, 32)), r"not \[5, 32, 32\]$"),
    "a number": (3, r"not \[\]$"),
    "empty list": ([], r"not \[0\]$"),
    "ragged": ([[1, 2], [3]], "inhomogeneous"),
    "strings": (np.full((1, 28, 28), "x"), "integers or floats, not <U1"),
    "booleans": (ZEROS > 0, "integers or floats, not bool"),
    "complex": (ZEROS + 1j, "integers or floats, not complex128"),
    "objects": (ZEROS.astype(object), "integers or floats, not object"),
    "not a number": (ZEROS * np.nan, "floats from 0 to 1, .*from nan to nan"),
    "infinite": (ZEROS + np.inf, "from inf to inf"),
    "bytes as floats": (ZEROS + 255, "from 255 to 255; divide by 255"),
    "more than bytes": (ZEROS + 256, "from 256 to 256$"),
    "normalised": (ZEROS - 0.42, "from -0.42 to -0.42$"),
    "negative": (np.full((1, 28, 28), -1), "integers from 0 to 255, .*from -1 to -1"),
    "16 bit": (np.full((1, 28, 28), 256, np.uint16), "from 256 to 256$"),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_images_are_refused_with_a_reason(name: str) -> None:
    images, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        Classifier(MODEL).predict(images)


def test_a_changed_file_is_refused_before_it_is_loaded(release: Path) -> None:
    content = bytearray(release.read_bytes())
    content[len(content) // 2] ^= 1
    release.write_bytes(content)
    with pytest.raises(UserError, match=r"mnist-cnn\.onnx.*[0-9a-f]{64}, not "):
        Classifier(release)


def test_an_unlisted_file_is_refused(release: Path) -> None:
    with pytest.raises(UserError, match=r"SHA256SUMS does not list other\.onnx"):
        Classifier(shutil.copy(release, release.with_name("other.onnx")))


@pytest.mark.parametrize(
    "change",
    [
        lambda sums: sums.replace("  ", " *"),
        lambda sums: sums.replace("  ", "  ./"),
        lambda sums: sums.replace(sums.split()[0], sums.split()[0].upper()).replace("\n", "\r\n"),
        lambda sums: "\ufeff" + sums,
    ],
    ids=["binary", "path", "uppercase and CRLF", "BOM"],
)
def test_checksums_from_any_tool_are_accepted(release: Path, change: Callable[[str], str]) -> None:
    sums = release.with_name("SHA256SUMS")
    line = f"{hashlib.sha256(release.read_bytes()).hexdigest()}  {release.name}\n"
    sums.write_bytes(change(line).encode())
    assert Classifier(release).sha256 == line.split()[0]
    sums.write_bytes(change(line.replace(line[:8], "0" * 8)).encode())
    with pytest.raises(UserError, match="has the SHA-256"):
        Classifier(release)


def test_a_checksums_file_that_is_not_utf8_is_reported(release: Path) -> None:
    sums = release.with_name("SHA256SUMS")
    sums.write_text(sums.read_text(), encoding="utf-16")
    with pytest.raises(UserError, match=r"SHA256SUMS.*UTF-8"):
        Classifier(release)


def test_a_release_during_loading_causes_no_error(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = release.with_name("SHA256SUMS")
    right = sums.read_text()
    sums.write_text(f"{'0' * 64}  {release.name}\n")  # of the previous model
    monkeypatch.setattr(classifier, "OnnxModel", released_meanwhile := Mock(wraps=OnnxModel))

    def load(*arguments: Any) -> OnnxModel:
        released_meanwhile.side_effect = None
        sums.write_text(right)
        return OnnxModel(*arguments)

    released_meanwhile.side_effect = load
    assert Classifier(release).sha256 in right


def test_a_file_without_checksums_loads_with_a_warning(
    release: Path, ten: Images, caplog: pytest.LogCaptureFixture
) -> None:
    release.with_name("SHA256SUMS").unlink()
    assert Classifier(release).predict(ten).classes.tolist() == list(range(10))
    assert "mnist-cnn.onnx is not verified" in caplog.text


def test_dark_on_light_images_cause_a_warning(
    ten: Images, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier(MODEL)
    classifier.predict(ten)
    assert "dark on light" not in caplog.text
    classifier.predict(255 - ten)
    assert "10 of 10 images look dark on light" in caplog.text


def test_a_missing_file_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"nowhere\.onnx is missing"):
        Classifier(tmp_path / "nowhere.onnx")
    assert caplog.text == ""  # no warning in addition to the error


@pytest.mark.parametrize("folder", [".", "/", "/usr"])
def test_a_folder_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(folder)} is a folder, not a file$"):
        Classifier(folder)


def test_loading_is_logged_not_printed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    classifier = Classifier(MODEL)
    assert classifier.providers
    assert classifier.sha256 in caplog.text
    assert capfd.readouterr() == ("", "")


def test_an_unknown_provider_is_reported() -> None:
    with pytest.raises(UserError, match=r"cannot use QNNExecutionProvider here: .* only CPU"):
        Classifier(MODEL, provider="QNNExecutionProvider")


@pytest.mark.parametrize("threads", [0, 1])
def test_a_pickled_classifier_needs_no_file_and_predicts_the_same(
    release: Path, mnist: tuple[Images, Images], threads: int
) -> None:
    classifier = Classifier(release, threads=threads)
    expected = classifier.predict(mnist[0][:100])
    content = pickle.dumps(classifier)
    release.unlink()
    copy = pickle.loads(content)
    assert copy.sha256 == classifier.sha256
    found = copy.predict(mnist[0][:100])
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.labels == expected.labels


def test_an_unpickled_classifier_adapts_to_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickled with CUDA, which uses one worker; unpickled on several cores without CUDA."""
    monkeypatch.setattr(session, "available_cores", lambda: 1)
    content = pickle.dumps(Classifier(MODEL))
    monkeypatch.setattr(session, "available_cores", lambda: 3)
    copy = pickle.loads(content)
    assert copy._model._workers == 3


def test_cuda_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, ONNX Runtime's default, keeps 10 of 23 bits."""
    load = Mock()
    load.return_value.get_providers.return_value = [CUDA]
    monkeypatch.setattr(providers, "Session", load)
    monkeypatch.setattr("ctypes.CDLL", Mock())
    monkeypatch.setattr(onnxruntime, "preload_dlls", Mock(), raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    assert providers.load(CUDA, b"", 1) is load.return_value
    assert load.call_args.args[2:] == ([CUDA], [{"use_tf32": "0"}])


def test_a_session_uses_one_core() -> None:
    """More threads would spin after each call and slow down the process."""
    options = OnnxModel(MODEL).session.get_session_options()
    assert options.intra_op_num_threads == 1


@pytest.mark.parametrize("threads", [0, 1])
def test_threads_can_share_a_classifier(mnist: tuple[Images, Images], threads: int) -> None:
    classifier = Classifier(MODEL, threads=threads)
    parts = [mnist[0][start : start + 70] for start in range(0, 1400, 70)]
    expected = [classifier.predict(part).probabilities for part in parts]
    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(lambda n: classifier.predict(parts[n % 20]), range(100)))
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer.probabilities, expected[n % 20])


@pytest.mark.parametrize(
    "form",
    [
        lambda grey, path: grey,
        lambda grey, path: np.stack([grey] * 3, -1),
        lambda grey, path: grey / 255,
        lambda grey, path: Image.fromarray(grey),
        lambda grey, path: path,
        lambda grey, path: str(path),
    ],
    ids=["grey", "colours", "floats", "PIL", "Path", "text"],
)
def test_a_picture_is_accepted_in_many_representations(
    tmp_path: Path, form: Callable[[Images, Path], Any]
) -> None:
    grey = 255 - np.pad(make_digits(8, seed=1)[0][7], ((30, 5), (0, 50)))
    path = tmp_path / "picture.png"
    Image.fromarray(grey).save(path)
    classifier = Classifier(MODEL)
    image = classifier.from_image(form(grey, path))
    assert image.shape == (1, 28, 28)
    np.testing.assert_array_equal(image, classifier.from_image(grey))
    assert image.max() == 255


@pytest.mark.parametrize("shape", [(28,), (0, 28), (28, 28, 4), (2, 28, 28), ()], ids=str)
def test_an_array_that_is_not_a_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not {list(shape)}")):
        Classifier(MODEL).from_image(np.zeros(shape, np.uint8))


def test_an_unreadable_picture_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.png: no such file"):
        Classifier(MODEL).from_image(tmp_path / "missing.png")


def test_the_default_is_the_released_model_of_the_workspace(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = release.parent / "project"
    (workspace / "models").mkdir(parents=True)
    (workspace / "params.yaml").touch()
    other = release.read_bytes() + b"\x32\x01x"  # another producer_version
    (workspace / "models/other.onnx").write_bytes(other)
    (workspace / "models/deep").mkdir()
    monkeypatch.chdir(workspace / "models/deep")
    assert Classifier().sha256 == hashlib.sha256(MODEL.read_bytes()).hexdigest()  # no release
    digest = hashlib.sha256(other).hexdigest()
    (workspace / "models/SHA256SUMS").write_text(f"{digest}  other.onnx\n")
    assert Classifier().sha256 == digest
    shutil.copy(MODEL, workspace / "models/another.onnx")  # not listed in the checksums
    assert Classifier().sha256 == digest
    (workspace / "models/SHA256SUMS").write_text("")
    with pytest.raises(
        UserError, match=r"another\.onnx, other\.onnx"
    ):  # no fallback to the packaged model
        Classifier()


@pytest.mark.parametrize("packaged", [True, False])
def test_the_default_outside_a_workspace_is_the_packaged_model(
    release: Path, monkeypatch: pytest.MonkeyPatch, packaged: bool
) -> None:
    outside = release.parent / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    if packaged:
        monkeypatch.setattr(released, "INSTALLED", release.parent)
        assert released.released_model() == release
    assert Classifier().sha256 == hashlib.sha256(MODEL.read_bytes()).hexdigest()


def test_without_onnx_runtime_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = r"^ONNX Runtime is missing: install gated-mnist\[cpu\] or gated-mnist\[gpu\]$"
    with pytest.raises(ModuleNotFoundError, match=said):
        importlib.reload(providers)
