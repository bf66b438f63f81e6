"""release: what passed the gate becomes models/, whole or not at all, and MLflow's champion."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.config import Params
from pipeline.core import environment, paths
from pipeline.core.errors import RefusedError, first_line
from pipeline.core.files import (
    read_csv,
    read_json,
    read_tensors,
    replacing_directory,
    sha256,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.evaluation.comparison import mcnemar
from pipeline.inference.session import OnnxModel
from pipeline.registry.provenance import provenance
from pipeline.tracking import background

CARD_TEMPLATE = "MODEL_CARD.md.j2"
LAST = [paths.RELEASED_MODEL.name, paths.CHECKSUMS.name]
NOT_RELEASED = (
    "an experiment releases nothing: `dvc exp apply` and then "
    "`dvc repro --force --single-item release` do"
)


def run(params: Params) -> None:
    """Replace models/ and register it. RefusedError, with nothing changed, if it may not be.

    In an experiment of DVC it only tells whether that would be so: an experiment that ends well is
    kept, and what is released belongs to the checkout.
    """
    require_passed_gate()
    if environment.experiment():
        try:
            compare_with_released(params)
        except RefusedError as error:
            print(f"would be refused: {error}")
        paths.RELEASES.mkdir(parents=True, exist_ok=True)  # DVC expects the output
        print(NOT_RELEASED)
        return
    compare_with_released(params)
    with replacing_directory(paths.RELEASES, last=LAST) as new:
        write_bytes(new / paths.RELEASED_MODEL.name, paths.MODEL.read_bytes())
        write_text(new / paths.MODEL_CARD.name, model_card(params))
        write_json(new / paths.PROVENANCE.name, provenance(params))
        background.promote(paths.MODEL)
        names = [paths.RELEASED_MODEL.name, paths.MODEL_CARD.name, paths.PROVENANCE.name]
        checksums = "".join(f"{sha256(new / name)}  {name}\n" for name in names)
        write_text(new / paths.CHECKSUMS.name, checksums)
    print(f"released {paths.RELEASED_MODEL}, SHA-256 {sha256(paths.RELEASED_MODEL)}")
    background.publish()


def require_passed_gate() -> None:
    """RefusedError unless the gate passed, and passed this very file."""
    verdict = read_json(paths.GATE_REPORT)
    if not isinstance(verdict, dict) or verdict.get("passed") is not True:
        raise RefusedError(
            f"{paths.GATE_REPORT} does not say that the gate passed: nothing is released"
        )
    if verdict.get("model_sha256") != sha256(paths.MODEL):
        raise RefusedError(
            f"{paths.GATE_REPORT} is about another file than {paths.MODEL}: run `dvc repro`"
        )


def compare_with_released(params: Params) -> None:
    """RefusedError if the released model is significantly better on the test set (McNemar).

    The same if it cannot be compared: if it does not load, or answers in another form.
    """
    if not paths.RELEASED_MODEL.exists():
        return
    test = read_tensors(paths.TEST)
    images, labels = test["images"], test["labels"]
    batch_size = params.evaluate.batch_size
    new, _ = OnnxModel(paths.MODEL, params.evaluate.provider).run(images, batch_size)
    try:
        old, _ = OnnxModel(paths.RELEASED_MODEL, params.evaluate.provider).run(images, batch_size)
        if old.shape != new.shape:
            raise ValueError(f"it gives logits {list(old.shape)}, the new one {list(new.shape)}")
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        comparison = f"the released model cannot be compared: {first_line(error)}"
        acceptable = False
    else:
        result = mcnemar(old.argmax(1) == labels, new.argmax(1) == labels)
        comparison = (
            f"only the released model is right on {result['only_old_right']} test images, only "
            f"the new one on {result['only_new_right']}, McNemar p = {result['p_value']:.3g}"
        )
        worse = result["only_old_right"] > result["only_new_right"]
        acceptable = not (worse and result["p_value"] < params.release.significance)
        if not acceptable:
            comparison = f"the released model is significantly better: {comparison}"
    print(comparison)
    if not acceptable:
        if not params.release.allow_regression:
            raise RefusedError(
                f"{comparison}; release.allow_regression: true in params.yaml releases the new one "
                "all the same"
            )
        print("that is allowed: release.allow_regression is true")


def model_card(params: Params) -> str:
    """The model card, in Markdown with Hugging Face metadata."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return templates.get_template(CARD_TEMPLATE).render(
        params=params,
        model=paths.RELEASED_MODEL.name,
        sha256=sha256(paths.MODEL),
        training=read_json(paths.SUMMARY),
        export=read_json(paths.EXPORT_REPORT),
        evaluation=read_json(paths.METRICS) | read_json(paths.SUBJECT),
        speed=read_json(paths.SPEED),
        classes=read_csv(paths.EVALUATION / "classes.csv"),
        gate=read_json(paths.GATE_REPORT),
    )
