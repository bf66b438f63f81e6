"""The execution providers: which ones compute, and which ones may not."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from pipeline import config
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders
from pipeline.inference import Classifier, choice, providers
from pipeline.inference.choice import pack, unpack
from pipeline.inference.providers import CPU, CUDA, MANY, OPENVINO
from pipeline.inference.session import OnnxModel
from tests.checkout import MODEL, needs_model, needs_openvino
from tests.digits import Images, make_digits

pytestmark = needs_model


@pytest.fixture
def digits() -> Images:
    return make_digits(2 * MANY, seed=1)[0]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A model for which every provider was judged."""
    path = tmp_path / MODEL.name
    path.write_bytes(MODEL.read_bytes())
    write_record(path)
    return path


def write_record(model: Path, **changes: Any) -> None:
    record = JudgedProviders(
        model_sha256=sha256(model),
        providers=[CPU, OPENVINO, CUDA],
        max_logit_difference=0.5,
        max_novelty_difference=1.0,
        images=pack(make_digits(4, seed=2)[0]),
    )
    record.model_copy(update=changes).write(model.with_name(JUDGED_PROVIDERS))


def computed_by(classifier: Classifier, images: Images) -> str:
    """The provider whose answers these are, to the bit."""
    found = classifier.predict(images).logits
    matches = [
        name
        for name in (CPU, OPENVINO)
        if np.array_equal(OnnxModel(MODEL, name, threads=1).run(images)[0], found)
    ]
    assert len(matches) == 1
    return matches[0]


@needs_openvino
def test_many_images_are_computed_by_openvino_and_few_by_the_cpu_provider(
    release: Path, digits: Images
) -> None:
    classifier = Classifier(release, threads=1)
    assert computed_by(classifier, digits[:MANY]) == OPENVINO
    assert computed_by(classifier, digits[: MANY - 1]) == CPU
    assert classifier.providers == [OPENVINO, CPU]


@needs_openvino
def test_one_after_another_each_provider_must_be_judged(release: Path, digits: Images) -> None:
    write_record(release, providers=[CPU])
    assert computed_by(Classifier(release), digits) == CPU


@needs_openvino
@pytest.mark.parametrize(
    "changes",
    [
        {"max_logit_difference": 0.0},  # so that any other answer is wrong
        {"model_sha256": "0" * 64},
        {"images": "bm90IHpsaWI="},
    ],
)
def test_otherwise_the_cpu_provider_computes(
    release: Path, digits: Images, changes: dict[str, Any]
) -> None:
    write_record(release, **changes)
    assert computed_by(Classifier(release), digits) == CPU


@needs_openvino
@pytest.mark.parametrize("content", [None, "", "{}", '{"schema_version": 7}'])
def test_a_missing_or_damaged_record_allows_the_cpu_provider_alone(
    release: Path, digits: Images, content: str | None
) -> None:
    record = release.with_name(JUDGED_PROVIDERS)
    record.unlink()
    if content is not None:
        record.write_text(content)
    classifier = Classifier(release)
    assert classifier.judged == [CPU]
    assert computed_by(classifier, digits) == CPU


def test_a_machine_without_the_plugin_works(
    release: Path, digits: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
    caplog.set_level(logging.INFO)
    classifier = Classifier(release)
    assert computed_by_cpu(classifier, digits)
    assert f"{OPENVINO} is not used" in caplog.text
    with pytest.raises(UserError, match=OPENVINO):
        Classifier(release, provider=OPENVINO)


def computed_by_cpu(classifier: Classifier, images: Images) -> bool:
    """Whether these are the CPU provider's answers."""
    expected = OnnxModel(MODEL).run(images)[0]
    return np.array_equal(classifier.predict(images).logits, expected)


def test_a_processor_without_bfloat16_does_not_use_openvino(
    release: Path, digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SimpleNamespace(ep_metadata={"OPTIMIZATION_CAPABILITIES": "WINOGRAD FP32 INT8"})
    monkeypatch.setattr(providers, "_openvino_device", lambda: device)
    assert computed_by_cpu(Classifier(release), digits)
    with pytest.raises(UserError, match="bfloat16"):
        Classifier(release, provider=OPENVINO)


def test_a_provider_that_fails_is_not_used(
    release: Path, digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of the driver")

    monkeypatch.setitem(providers.LOADERS, OPENVINO, fail)
    monkeypatch.setitem(providers.LOADERS, CUDA, fail)
    assert computed_by_cpu(Classifier(release), digits)


def test_a_faster_provider_is_loaded_only_for_many_images(
    release: Path, digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer to load than a single image takes."""
    loaded = []

    def load(name: str, *_: Any) -> None:
        loaded.append(name)
        raise providers.UnusableError("not now")

    monkeypatch.setattr(choice, "load", load)
    classifier = Classifier(release)
    classifier.predict(digits[:1])
    assert loaded == []
    classifier.predict(digits)
    classifier.predict(digits)
    assert loaded == list(choice.FASTEST_FIRST)


def test_params_name_the_providers_that_can_be_loaded() -> None:
    assert set(get_args(config.Provider)) == set(providers.LOADERS)


def test_the_record_holds_the_images() -> None:
    images = make_digits(4, seed=2)[0]
    np.testing.assert_array_equal(unpack(pack(images), OnnxModel(MODEL).signature.form), images)
