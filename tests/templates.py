"""A model of letters that requires no training: it compares images with drawn templates."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.reports import PredictionSet
from pipeline.core.task import ImageForm
from pipeline.inference.signature import Signature
from pipeline.pictures.normal_form import bring_into_form
from tests.digits import Images

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
FORM = ImageForm(height=40, width=32, ink=24)


def draw(
    text: str, size: int = 80, paper: int = 240, ink: int = 20, font: Path | None = None
) -> Images:
    """A picture of a letter, by default dark on light."""
    picture = Image.new("L", (2 * size, 2 * size), paper)
    face = ImageFont.truetype(font, size) if font else ImageFont.load_default(size)
    ImageDraw.Draw(picture).text((size, size), text, ink, face, "mm")
    return np.asarray(picture)


def write_model(
    path: Path,
    labels: tuple[str, ...] = LETTERS,
    form: ImageForm = FORM,
    noun: str = "letter",
    *,
    novelty_threshold: float = 0.0,
    least_probability: float = 1.0,
) -> Path:
    """Write the ONNX file of a template model, with its signature.

    The template of a longer label is its first character. Novelty is the negative logit of the most
    similar one. By default, no image is novel, and every prediction set has one label.
    """
    templates = np.stack([bring_into_form(draw(label[0]), form).ravel() / 255 for label in labels])
    templates -= templates.mean(1, keepdims=True)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    signature = Signature(
        model="templates", data_set="letters", noun=noun, labels=labels, height=form.height,
        width=form.width, ink=form.ink, mean_pixel_deciles=(0.0,) * 9, parameters=templates.size,
        data_sha256="0" * 64, weights_sha256="0" * 64, detector_sha256="0" * 64,
        novelty_threshold=novelty_threshold,
        sets=(PredictionSet(coverage=0.9, least_probability=least_probability),),
    )  # fmt: skip
    classes: list[str | int] = ["N", len(labels)]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["rows"], axis=1),
            helper.make_node("MatMul", ["rows", "templates"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ReduceMax", ["logits", "axis"], ["similarity"], keepdims=0),
            helper.make_node("Neg", ["similarity"], ["novelty"]),
        ],
        "templates",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *form.shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, classes)
         for name in ("logits", "probabilities")]
        + [helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array((templates.T / 50).astype(np.float32), "templates"),
         numpy_helper.from_array(np.array([1]), "axis")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=onnx.IR_VERSION - 1)
    helper.set_model_props(model, signature.to_metadata())
    path.write_bytes(model.SerializeToString())
    return path
