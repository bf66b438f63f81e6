"""A model must repeat the golden answers of its release."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.inference import golden
from pipeline.inference.session import OnnxModel
from tests.releases import golden_images, stub
from tests.reports import edit


@pytest.fixture
def models(tmp_path: Path) -> list[OnnxModel]:
    for column in (0, 1):
        stub(tmp_path / f"{column}.onnx", column)
    return [OnnxModel(tmp_path / f"{column}.onnx") for column in (0, 1)]


def test_another_model_is_detected(models: list[OnnxModel], tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    write_json(path, golden.make(models[0], golden_images(), np.arange(100) % 10))
    assert golden.difference(path, models[0]) is None
    said = golden.difference(path, models[1])
    assert said is not None
    assert "logits" in said


def test_differences_of_rounding_are_tolerated(models: list[OnnxModel], tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    made = golden.make(models[0], golden_images())
    made["novelty"][3] += made["max_novelty_difference"] / 2
    write_json(path, made)
    assert golden.difference(path, models[0]) is None
    made["novelty"][3] += made["max_novelty_difference"]
    write_json(path, made)
    assert "novelty" in (golden.difference(path, models[0]) or "")


def test_damaged_golden_answers_are_an_error(models: list[OnnxModel], tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    write_json(path, golden.make(models[0], golden_images()))
    edit(path, images="AAAA")
    with pytest.raises(UserError, match=r"golden\.json"):
        golden.difference(path, models[0])
    edit(path, images=None)
    with pytest.raises(UserError, match=r"golden\.json"):
        golden.difference(path, models[0])
