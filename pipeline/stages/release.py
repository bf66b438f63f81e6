"""release: what passed the gate becomes models/, whole or not at all, and MLflow's champion."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.config import Params
from pipeline.core import environment
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
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.comparison import mcnemar
from pipeline.inference.session import OnnxModel
from pipeline.registry.provenance import provenance
from pipeline.tracking import background

CARD_TEMPLATE = "MODEL_CARD.md.j2"
NOT_RELEASED = (
    "an experiment releases nothing: `dvc exp apply` and then "
    "`dvc repro --force --single-item release` do"
)


def run(workspace: Workspace, params: Params, task: Task) -> None:
    """Replace models/ and register it. RefusedError, with nothing changed, if it may not be.

    In an experiment of DVC it only tells whether that would be so: an experiment that ends well is
    kept, and what is released belongs to the checkout.
    """
    require_passed_gate(workspace)
    if environment.experiment():
        try:
            compare_with_released(workspace, params)
        except RefusedError as error:
            print(f"would be refused: {error}")
        workspace.releases.mkdir(parents=True, exist_ok=True)  # DVC expects the output
        print(NOT_RELEASED)
        return
    compare_with_released(workspace, params)
    name = f"{task.model}.onnx"
    with replacing_directory(workspace.releases, last=[name, workspace.checksums.name]) as new:
        write_bytes(new / name, workspace.model.read_bytes())
        write_text(new / workspace.model_card.name, model_card(workspace, params, name))
        write_json(new / workspace.provenance.name, provenance(workspace, params, name))
        background.promote(workspace, workspace.model)
        names = [name, workspace.model_card.name, workspace.provenance.name]
        checksums = "".join(f"{sha256(new / file)}  {file}\n" for file in names)
        write_text(new / workspace.checksums.name, checksums)
    print(f"released {workspace.released_model}, SHA-256 {sha256(workspace.released_model)}")
    background.publish(workspace)


def require_passed_gate(workspace: Workspace) -> None:
    """RefusedError unless the gate passed, and passed this very file."""
    verdict = read_json(workspace.gate_report)
    if not isinstance(verdict, dict) or verdict.get("passed") is not True:
        raise RefusedError(
            f"{workspace.gate_report} does not say that the gate passed: nothing is released"
        )
    if verdict.get("model_sha256") != sha256(workspace.model):
        raise RefusedError(
            f"{workspace.gate_report} is about another file than {workspace.model}: run `dvc repro`"
        )


def compare_with_released(workspace: Workspace, params: Params) -> None:
    """RefusedError if the released model is significantly better on the test set (McNemar).

    The same if it cannot be compared: if it does not load, or answers in another form.
    """
    if not workspace.released_model.exists():
        return
    test = read_tensors(workspace.test_set)
    images, labels = test["images"], test["labels"]
    batch_size = params.evaluate.batch_size
    new, _ = OnnxModel(workspace.model, params.evaluate.provider).run(images, batch_size)
    try:
        old, _ = OnnxModel(workspace.released_model, params.evaluate.provider).run(
            images, batch_size
        )
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


def model_card(workspace: Workspace, params: Params, name: str) -> str:
    """The model card, in Markdown with Hugging Face metadata."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return templates.get_template(CARD_TEMPLATE).render(
        params=params,
        model=name,
        sha256=sha256(workspace.model),
        training=read_json(workspace.training_report),
        export=read_json(workspace.export_report),
        evaluation=read_json(workspace.metrics) | read_json(workspace.subject),
        speed=read_json(workspace.speed),
        classes=read_csv(workspace.per_class, texts=["label"]),
        gate=read_json(workspace.gate_report),
    )
