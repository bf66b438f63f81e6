"""An occlusion map shows which ink an answer depends on."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.task import ImageForm
from pipeline.inference.occlusion import occlusion_maps
from pipeline.inference.session import OnnxModel
from pipeline.pictures.normal_form import bring_into_form
from tests.templates import FORM, draw, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return OnnxModel(write_model(tmp_path_factory.mktemp("occlusion") / "model.onnx"))


def letter(name: str) -> NDArray[np.uint8]:
    return bring_into_form(draw(name), FORM)


def test_the_bar_that_makes_an_e_of_an_f_counts_most(model: OnnxModel) -> None:
    (found,) = occlusion_maps(model, letter("E")[None])
    row, _ = np.unravel_index(found.argmax(), found.shape)
    only_in_e = np.flatnonzero((letter("E") > letter("F")).sum(1) > 5)
    assert only_in_e.min() <= row <= only_in_e.max() + 2
    blank = [not letter("E")[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5].any()
             for y, x in np.ndindex(*FORM.shape)]  # fmt: skip
    assert any(blank)
    assert not found.ravel()[blank].any()  # there is nothing to erase


def test_ink_against_the_answer_is_negative(model: OnnxModel) -> None:
    faint = letter("E") // 3
    faint_e = np.maximum(letter("F"), faint)
    (found,) = occlusion_maps(model, faint_e[None])
    assert model.signature.labels[model.run(faint_e[None])[0].argmax()] == "F"
    row, _ = np.unravel_index(found.argmin(), found.shape)
    assert found.min() < 0
    assert ((faint > letter("F")).sum(1) > 5)[row - 2 : row + 3].any()


def test_each_map_is_that_of_its_image(model: OnnxModel) -> None:
    images = np.stack([letter(name) for name in "EQ"])
    both = occlusion_maps(model, images)
    assert both.shape == images.shape
    for n in range(2):
        np.testing.assert_allclose(both[n], occlusion_maps(model, images[n : n + 1])[0], atol=1e-4)
    assert occlusion_maps(model, images[:0]).shape == (0, *FORM.shape)


@pytest.mark.parametrize(
    "form", [ImageForm(8, 8, 4), ImageForm(28, 28, 20), ImageForm(128, 96, 90)]
)
def test_a_map_costs_a_few_hundred_images_whatever_the_form(
    tmp_path: Path, form: ImageForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OnnxModel(write_model(tmp_path / "model.onnx", form=form))
    monkeypatch.setattr(model, "run", run := Mock(wraps=model.run))
    occlusion_maps(model, bring_into_form(draw("E"), form)[None])
    ((images,),) = [call.args for call in run.call_args_list]
    assert 20 < len(images) < 500
