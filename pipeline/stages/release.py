"""The `release` stage: replace models/ atomically and register the model as MLflow's champion."""

import re
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pipeline.config import Gate, Params
from pipeline.core import environment
from pipeline.core.errors import RefusedError, UserError, first_line
from pipeline.core.files import (
    read_tensors,
    replacing_directory,
    sha256,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.core.gate_input import GateInput
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders
from pipeline.core.snapshot import Snapshot, read_snapshot
from pipeline.core.task import ImageForm, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.comparison import mcnemar
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES
from pipeline.inference.choice import pack
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.registry import promotion
from pipeline.registry.provenance import provenance
from pipeline.stages.gate import judge
from pipeline.tracking import Component, background

SAMPLES = 32  # images on which an execution provider is checked when it starts
# in order of preference: the card of the task, which extends that of the stage
CARD_TEMPLATES = ["card.md.j2", "MODEL_CARD.md.j2"]
NOT_RELEASED = (
    "an experiment releases nothing; to release it, run `dvc exp apply` and then "
    "`dvc repro --force --single-item release`"
)


def run(workspace: Workspace, params: Params, task: Task, baseline: Path | None = None) -> None:
    """Replace models/, register the model, and publish the gate's verdict on it.

    Raises RefusedError, with models/ unchanged, if the gate did not pass or the new model is
    significantly worse than `baseline`: an ONNX file, by default the released model if there is
    one. In a DVC experiment, the stage only prints whether the release would be refused: a failed
    stage would discard the experiment, and releases are made from the checkout.
    """
    snapshot = read_snapshot(workspace)
    require_passed_gate(workspace, snapshot, params.gate)
    model = OnnxModel(workspace.model, params.evaluate.providers[0])
    require_trained(workspace, model.signature, snapshot, task)
    try:
        compare(workspace, params, model, baseline or workspace.released_model)
    except RefusedError as error:
        if not environment.experiment():
            background.publish(workspace, Component.TRAINING)
            raise
        print(f"the release would be refused: {error}")
    if environment.experiment():
        workspace.releases.mkdir(parents=True, exist_ok=True)  # DVC requires this output
        print(NOT_RELEASED)
    else:
        replace_models(workspace, params, snapshot, model.signature, task)
    background.publish(workspace)


def replace_models(
    workspace: Workspace, params: Params, snapshot: Snapshot, signature: Signature, task: Task
) -> None:
    """Replace models/ as a whole by the exported model with its card, provenance and checksums."""
    name = f"{signature.model}.onnx"
    card = model_card(snapshot, signature, params, task)
    with replacing_directory(workspace.releases, last=[name, workspace.checksums.name]) as new:
        write_bytes(new / name, workspace.model.read_bytes())
        write_text(new / workspace.model_card.name, card)
        statement = provenance(workspace, params, snapshot, name)
        write_json(new / workspace.provenance.name, statement)
        judged_providers(workspace, snapshot, params.gate).write(new / JUDGED_PROVIDERS)
        promotion.record(workspace, workspace.model)
        names = [name, JUDGED_PROVIDERS, workspace.model_card.name, workspace.provenance.name]
        checksums = "".join(f"{sha256(new / file)}  {file}\n" for file in names)
        write_text(new / workspace.checksums.name, checksums)
    print(f"released {workspace.released_model}, SHA-256 {sha256(workspace.released_model)}")


def require_passed_gate(workspace: Workspace, snapshot: Snapshot, params: Gate) -> None:
    """Raise RefusedError unless the gate passed this ONNX file by these criteria."""
    verdict, evaluation = snapshot.gate.report, snapshot.evaluation
    if not verdict.passed:
        raise RefusedError(
            f"the gate refused the model, so it is not released; see {workspace.gate_report}"
        )
    if verdict.model_sha256 != sha256(workspace.model):
        raise RefusedError(
            f"{workspace.gate_report} does not match {workspace.model}: run `dvc repro`"
        )
    judged = GateInput(
        export=snapshot.export,
        subject=evaluation.subject,
        metrics=evaluation.metrics,
        behaviour=evaluation.behaviour,
        sha256=verdict.reports_sha256,
    )
    if verdict != judge(judged, params):
        raise RefusedError(
            f"{workspace.gate_report} does not match the criteria in {workspace.params}: "
            "run `dvc repro`"
        )


def require_trained(
    workspace: Workspace, signature: Signature, snapshot: Snapshot, task: Task
) -> None:
    """Raise UserError unless model and test set match this training, evaluation and task."""
    weights, test_set = snapshot.export.weights_sha256, snapshot.evaluation.subject.test_sha256
    if signature.weights_sha256 != weights or signature.model != task.model:
        raise UserError(
            f"{workspace.model} is {signature.model} with the weights "
            f"{signature.weights_sha256}, not {task.model} with {weights}: run `dvc repro`"
        )
    if sha256(workspace.test_set) != test_set:
        raise UserError(f"{workspace.subject} does not match {workspace.test_set}: run `dvc repro`")


def compare(workspace: Workspace, params: Params, model: OnnxModel, baseline: Path) -> None:
    """Raise RefusedError if the baseline is significantly better on the test set (McNemar).

    Also raises it if the baseline cannot be compared: it does not load or is for another task.
    """
    if not baseline.exists():
        return
    test = read_tensors(workspace.test_set)
    images, labels, batch_size = test["images"], test["labels"], params.evaluate.batch_size
    new = model.run(images, batch_size).logits
    try:
        released = OnnxModel(baseline, params.evaluate.providers[0])
        if difference := task_difference(released.signature, model.signature):
            raise ValueError(f"{baseline} {difference}")
        old = released.run(images, batch_size).logits
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        comparison = f"the new model cannot be compared with the released one: {first_line(error)}"
        action, scope = "replace it without a comparison", " for this one release"
        acceptable = False
    else:
        result = mcnemar(old.argmax(1) == labels, new.argmax(1) == labels)
        comparison = (
            f"only the released model is right on {result['only_old_right']} test images, only "
            f"the new model on {result['only_new_right']}, McNemar p = {result['p_value']:.3g}"
        )
        worse = result["only_old_right"] > result["only_new_right"]
        acceptable = not (worse and result["p_value"] < params.release.significance)
        if not acceptable:
            comparison = f"the released model is significantly better: {comparison}"
            action, scope = "release the new model anyway", ""
    print(comparison)
    if not acceptable:
        if not params.release.allow_regression:
            raise RefusedError(
                f"{comparison}; to {action}, set release.allow_regression: true in "
                f"{workspace.params}{scope} and run `dvc repro`"
            )
        print("releasing it anyway, because release.allow_regression is true")


def judged_providers(workspace: Workspace, snapshot: Snapshot, params: Gate) -> JudgedProviders:
    """The execution providers that passed the gate, with training images to check them on."""
    subject = snapshot.evaluation.subject
    return JudgedProviders(
        model_sha256=subject.model_sha256,
        providers=[provider.name for provider in subject.providers],
        max_logit_difference=params.max_provider_logit_difference,
        max_novelty_difference=params.max_provider_novelty_difference,
        images=pack(read_tensors(workspace.training_set)["images"][:SAMPLES]),
    )


def task_difference(released: Signature, new: Signature) -> str | None:
    """Describe how the task of the released model differs from that of the new one."""
    if released.data_set != new.data_set:
        return f"was trained on {released.data_set}, the new model on {new.data_set}"
    if released.labels != new.labels:
        old_labels, new_labels = ", ".join(released.labels), ", ".join(new.labels)
        return f"has the labels {old_labels}, the new model {new_labels}"
    if released.form != new.form:
        return f"takes {_shape(released.form)}, the new model {_shape(new.form)}"
    return None


def _shape(form: ImageForm) -> str:
    return f"images of {form.height} x {form.width} pixels with ink of {form.ink} x {form.ink}"


def model_card(snapshot: Snapshot, signature: Signature, params: Params, task: Task) -> str:
    """Render the model card, in Markdown with Hugging Face metadata."""
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(task.package, ""), PackageLoader(__package__, "")]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    templates.filters["text"] = as_text
    return templates.select_template(CARD_TEMPLATES).render(
        params=params,
        signature=signature,
        training=snapshot.training.report,
        calibration=snapshot.calibration,
        export=snapshot.export,
        subject=snapshot.evaluation.subject,
        metrics=snapshot.evaluation.metrics,
        behaviour=snapshot.evaluation.behaviour,
        distortions=DISTORTIONS,
        nudges=NUDGES,
        speed=snapshot.evaluation.speed,
        classes=snapshot.evaluation.classes,
    )


def as_text(text: str) -> str:
    """Escape text for Markdown, including table cells."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", text)
