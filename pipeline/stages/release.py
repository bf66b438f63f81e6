"""The `release` stage: judge the model, register it in models/, and promote it if allowed."""

import re
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pipeline.config import Gate, Params
from pipeline.core import environment, variables
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import (
    REPRO,
    existing,
    read_tensors,
    sha256,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.core.gate_input import GateInput
from pipeline.core.release_report import Verdict
from pipeline.core.reports import JUDGED_PROVIDERS, JudgedProviders
from pipeline.core.snapshot import Snapshot, read_snapshot
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES
from pipeline.inference import golden
from pipeline.inference.choice import pack
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.registry import acts, outcome, rule
from pipeline.registry import folder as files
from pipeline.registry.bom import bom
from pipeline.registry.ledger import Line
from pipeline.registry.provenance import provenance
from pipeline.registry.releases import Releases
from pipeline.registry.rule import Judgement
from pipeline.registry.signing import sign, signing_key
from pipeline.stages.gate import judge
from pipeline.tracking import Component, background

SAMPLES = 32  # images on which an execution provider is checked when it starts
# in order of preference: the card of the task, which extends that of the stage
CARD_TEMPLATES = ["card.md.j2", "MODEL_CARD.md.j2"]
NOT_RELEASED = (
    "an experiment releases nothing; to release it, run `dvc exp apply` and then "
    "`dvc repro --force --single-item release`"
)


def run(workspace: Workspace, params: Params, task: Task) -> None:
    """Judge the exported model, register it, and make it the champion if the rule allows that.

    Raises RefusedError, with nothing registered, if the gate did not pass or the model is inferior
    to a baseline. A model that cannot be compared, or that follows a rollback, is registered and
    not promoted. A registered model is not registered again. In a DVC experiment, the stage writes
    only its verdict: a failed stage would discard the experiment, and releases are made from the
    checkout.
    """
    snapshot = read_snapshot(workspace)
    require_passed_gate(workspace, snapshot, params.gate)
    model = OnnxModel(workspace.model, params.evaluate.providers[0])
    require_trained(workspace, model.signature, snapshot, task)
    if environment.experiment():
        judgement = rule.judge(workspace, params, model, record=False)
        outcome.write_report(workspace, params, judgement)
        workspace.releases.mkdir(parents=True, exist_ok=True)  # DVC requires this output
        print(f"{judgement.verdict}: {judgement.reason}\n{NOT_RELEASED}")
        background.publish(workspace, Component.TRAINING)
        return
    workspace.require_writable()
    acts.complete(workspace)
    line = Releases.of(workspace).registered(model.sha256)
    if line is None:
        key = signing_key()  # an unusable one must not cost a look at the test set
        judgement = rule.judge(workspace, params, model)
        if judgement.verdict is Verdict.INFERIOR:
            background.publish(workspace, Component.TRAINING)
            outcome.refuse(workspace, params, judgement)
        line = register(workspace, params, snapshot, model, task, judgement, key)
    outcome.write_report(workspace, params, rule.judged(line), line)
    outcome.promote_unless_held(workspace, line)
    background.synchronise(workspace)


def register(
    workspace: Workspace,
    params: Params,
    snapshot: Snapshot,
    model: OnnxModel,
    task: Task,
    judgement: Judgement,
    key: Path | None,
) -> Line:
    """Write the release folder of a judged model and register it; returns the ledger's line.

    `key`: a private key that signs the folder.
    """
    name, reports = f"{model.signature.model}.onnx", workspace.evaluation_reports
    calibration = read_tensors(workspace.calibration_set)
    assert judgement.answers is not None
    with acts.new_folder(workspace) as folder:
        write_bytes(folder / name, workspace.model.read_bytes())
        card = model_card(snapshot, model.signature, params, task)
        write_text(folder / files.CARD, card)
        statement = provenance(workspace, params, snapshot, name)
        write_json(folder / files.PROVENANCE, statement)
        judged_providers(workspace, snapshot, params.gate).write(folder / JUDGED_PROVIDERS)
        metrics = snapshot.evaluation.metrics
        metrics.write(folder / files.METRICS)
        content = bom(workspace, statement, model.signature, metrics, card)
        write_json(folder / files.BOM, content)
        snapshot.evaluation.behaviour.write(folder / workspace.behaviour.name)
        for figure in files.FIGURES:
            write_bytes(folder / figure, existing(reports / figure, REPRO).read_bytes())
        judgement.answers.write(folder / files.ANSWERS)
        answers = golden.make(model, calibration["images"], calibration["labels"])
        write_json(folder / files.GOLDEN, answers)
        acts.seal(folder)
        if key is not None:
            sign(folder, key)
        release = acts.register(
            workspace,
            folder,
            hold=variables.HOLD.get() is not None,
            **judgement.facts,
        )
    line = Releases.of(workspace).registration(release)
    assert line is not None
    return line


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
        live=evaluation.live,
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
    live = sha256(workspace.live_set) if workspace.live_set.exists() else None
    if live != snapshot.evaluation.live.live_sha256:
        raise UserError(
            f"{workspace.live_report} does not match {workspace.live_set}: run `dvc repro`"
        )


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
        live=snapshot.evaluation.live,
        distortions=DISTORTIONS,
        nudges=NUDGES,
        speed=snapshot.evaluation.speed,
        classes=snapshot.evaluation.classes,
    )


def as_text(text: str) -> str:
    """Escape text for Markdown, including table cells."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", text)
