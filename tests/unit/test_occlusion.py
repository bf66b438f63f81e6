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
from tests.templates import FORM, LETTERS, draw, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return OnnxModel(write_model(tmp_path_factory.mktemp("occlusion") / "model.onnx"))


def letter(name: str) -> NDArray[np.uint8]:
    return bring_into_form(draw(name), FORM)


def odds(model: OnnxModel, image: NDArray[np.uint8], label: str) -> float:
    """The log-odds of a label."""
    (logits,) = model.run(image[None]).logits.astype(float)
    others = np.delete(logits, LETTERS.index(label))
    return float(logits[LETTERS.index(label)] - np.logaddexp.reduce(others))


def test_the_ink_for_an_answer_is_positive_and_that_against_it_negative(model: OnnxModel) -> None:
    faint_e = np.maximum(letter("F"), letter("E") // 3)
    assert model.run(faint_e[None]).logits.argmax() == LETTERS.index("F")
    (found,) = occlusion_maps(model, faint_e[None])
    for place, sign in ((found.argmax(), 1), (found.argmin(), -1)):
        y, x = np.unravel_index(place, found.shape)
        erased = faint_e.copy()
        erased[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 0
        fall = odds(model, faint_e, "F") - odds(model, erased, "F")
        assert sign * fall > 0
        assert found[y, x] == pytest.approx(fall, rel=0.7)


def test_where_there_is_no_ink_nothing_can_be_erased(model: OnnxModel) -> None:
    image = letter("E")
    (found,) = occlusion_maps(model, image[None])
    blank = [not image[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5].any()
             for y, x in np.ndindex(*FORM.shape)]  # fmt: skip
    assert any(blank)
    assert not found.ravel()[blank].any()


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
