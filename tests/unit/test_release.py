"""models/ contains complete releases that passed the gate; the champion is not inferior."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
import yaml

from pipeline.config import Params, load_params
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import read_tensors, sha256
from pipeline.core.release_report import ReleaseReport
from pipeline.core.reports import JudgedProviders, Subject
from pipeline.core.snapshot import read_snapshot
from pipeline.core.task import ImageForm
from pipeline.core.variables import HOLD
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.inference import golden
from pipeline.inference.choice import find_judged, unpack
from pipeline.inference.session import OnnxModel
from pipeline.mnist import TASK
from pipeline.registry import acts, provenance
from pipeline.registry.answers import Answers
from pipeline.registry.folder import FIGURES, verify_checksums
from pipeline.registry.ledger import Ledger
from pipeline.registry.releases import Releases
from pipeline.stages import release
from pipeline.tracking import Component, background
from tests import releases as releases_helpers
from tests.checkout import PROJECT
from tests.folders import everything
from tests.releases import (
    IMAGES,
    MARGIN,
    answer,
    make_release,
    make_workspace,
    pass_gate,
    signature,
    stub,
)
from tests.reports import (
    CPU_REPORT,
    METRICS,
    OPENVINO_REPORT,
    TRAINING,
    edit,
    gate_params,
    write_verdict,
)

COPIES = ["MODEL_CARD.md", "mnist-cnn.onnx", "provenance.json", "providers.json"]
LETTERS = replace(
    TASK,
    package="tests.unit",
    data_set="Alphabet",
    model="letters-cnn",
    noun="letter",
    labels=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    form=ImageForm(height=32, width=30, ink=24),
    foreign="#",
    mirrored=(),
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose model has passed the gate, without MLflow and git."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setattr(provenance, "repository", lambda root: None)
    return make_workspace(tmp_path / "project")


def run(workspace: Workspace, **settings: Any) -> None:
    """Run the stage with these values of the section release in params.yaml."""
    release.run(workspace, params(workspace, **settings), TASK)


def refused(workspace: Workspace, said: str = "margin", **settings: Any) -> None:
    """Run the stage, which must refuse the model and change nothing but report and ledger."""
    before = Releases.of(workspace).champion(), len(Releases.of(workspace).all)
    with pytest.raises(RefusedError, match=said) as error:
        run(workspace, **settings)
    assert "\n" not in str(error.value)
    assert (
        Releases.of(workspace).champion(),
        len(Releases.of(workspace).all),
    ) == before
    line = Ledger(workspace.ledger).read()[-1]
    assert (line.act, line.sha256) == ("refuse", sha256(workspace.model))


def verdict(workspace: Workspace) -> str:
    """The verdict in reports/release.json, which is about the exported model."""
    report = ReleaseReport.read(workspace.release_report)
    assert report.model_sha256 == sha256(workspace.model)
    return report.verdict.value


def new_candidate(workspace: Workspace, column: int, only_old: int, only_new: int) -> None:
    """Export another model, which classifies by the pixel in this column.

    On `only_old` test images only the model of column 1 is right, on `only_new` only this one.
    """
    stub(workspace.model, column)
    images = np.zeros((IMAGES, 28, 28), np.uint8)
    images[:only_old, 0, column] = 7
    images[only_old : only_old + only_new, 0, 1] = 7
    releases_helpers.write_test_set(workspace, images)
    pass_gate(workspace)


def champion_number(workspace: Workspace) -> int | None:
    found = Releases.of(workspace).champion()
    return found.number if found else None


@cache
def default_params() -> Params:
    """The project's params; cached, since reading YAML is slow."""
    return load_params(PROJECT / "params.yaml")


def params(workspace: Workspace, **settings: Any) -> Params:
    """Those by which the model passed the gate."""
    params = default_params()
    release = params.release.model_copy(update={"margin": MARGIN} | settings)
    gate = gate_params(Subject.read(workspace.subject).test_sha256)
    return params.model_copy(update={"release": release, "gate": gate})


@contextmanager
def nothing_changes(workspace: Workspace) -> Iterator[None]:
    before = everything(workspace.root)
    yield
    assert everything(workspace.root) == before


def test_the_first_release_becomes_the_champion(workspace: Workspace) -> None:
    shutil.rmtree(workspace.models)
    before = {path.name for path in workspace.root.iterdir()}
    run(workspace)
    assert verdict(workspace) == "first"
    found = Releases.of(workspace).champion()
    assert found is not None
    assert (found.number, found.sha256) == (1, sha256(workspace.model))
    verify_checksums(found.folder)
    names = {path.name for path in found.folder.iterdir()}
    assert names == {
        *(*COPIES, *FIGURES, "SHA256SUMS", "metrics.json", "behaviour.json"),
        *("answers.json", "golden.json", "bom.json"),
    }
    assert {path.stat().st_mode & 0o777 for path in found.folder.iterdir()} == {0o644}
    assert found.folder.stat().st_mode & 0o777 == 0o755
    assert {path.name for path in workspace.root.iterdir()} == before | {"models"}
    listed = [line.split("  ") for line in workspace.checksums.read_text().splitlines()]
    assert {name: digest for digest, name in listed} == {
        name: sha256(workspace.models / name) for name in COPIES
    }
    model = OnnxModel(found.model)
    assert golden.difference(found.golden, model) is None
    answers = Answers.read(found.answers)
    test = read_tensors(workspace.test_set)["images"]
    assert answers.classes().tolist() == model.run(test).logits.argmax(1).tolist()
    assert [line.act.value for line in Ledger(workspace.ledger).read()] == ["register", "promote"]
    workspace.check_places()


def test_the_released_file_becomes_release_1_without_a_comparison(workspace: Workspace) -> None:
    shutil.copy(workspace.released_model, workspace.model)
    pass_gate(workspace)
    run(workspace)
    assert champion_number(workspace) == 1
    assert "look" not in [line.act for line in Ledger(workspace.ledger).read()]


def test_a_release_names_the_providers_that_the_gate_judged(workspace: Workspace) -> None:
    run(workspace)
    record = JudgedProviders.read(workspace.judged_providers)
    assert record.model_sha256 == sha256(workspace.released_model)
    assert record.providers == [CPU_REPORT.name, OPENVINO_REPORT.name]
    assert record.max_logit_difference == OPENVINO_REPORT.max_logit_difference
    assert find_judged(workspace.released_model, record.model_sha256) == record
    training = read_tensors(workspace.training_set)["images"]
    np.testing.assert_array_equal(unpack(record.images, TASK.form), training[: release.SAMPLES])


def test_a_registered_model_is_not_registered_again(workspace: Workspace) -> None:
    run(workspace)
    with nothing_changes(workspace):
        run(workspace)


def test_an_interrupted_promotion_is_completed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is registered, but the process was killed before it became the champion."""

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(acts, "promote", killed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace)
    assert champion_number(workspace) is None
    run(workspace)
    assert champion_number(workspace) == 1


@pytest.mark.parametrize("outcome", ["released", "refused", "experiment"])
def test_only_a_release_moves_mlflows_alias(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """The verdict of the gate is published in any case."""
    published: list[str] = []
    monkeypatch.setattr(background, "publish", lambda _, *components: published.extend(components))
    monkeypatch.setattr(background, "synchronise", lambda _: published.append("all"))
    if outcome == "experiment":
        monkeypatch.setenv("DVC_EXP_NAME", "bold-ibex")
    if outcome == "refused":
        answer(workspace, 9, 0)
        refused(workspace)
    else:
        run(workspace)
    assert published == (["all"] if outcome == "released" else [Component.TRAINING])


# the release rule


@pytest.mark.parametrize(
    ("only_old", "only_new", "settings", "expected"),
    [
        (0, 0, {}, "not inferior"),
        (9, 0, {}, "inferior"),
        (1, 1, {}, "not inferior"),
        (0, 40, {}, "better"),
        (9, 0, {"margin": 0.3}, "not inferior"),
        (3, 0, {}, "inferior"),
        (3, 0, {"alpha": 0.2, "looks": 1}, "not inferior"),
    ],
)
def test_a_model_is_released_only_if_it_is_not_inferior(
    workspace: Workspace,
    only_old: int,
    only_new: int,
    settings: dict[str, Any],
    expected: str,
) -> None:
    old = sha256(workspace.released_model)
    answer(workspace, only_old, only_new)
    if expected == "inferior":
        refused(workspace, f"is right on {only_old} of 100 .*{only_new}", **settings)
        assert sha256(workspace.released_model) == old
    else:
        run(workspace, **settings)
        assert sha256(workspace.released_model) == sha256(workspace.model)
    assert verdict(workspace) == expected
    (comparison,) = ReleaseReport.read(workspace.release_report).comparisons
    found = comparison.only_baseline_right, comparison.only_candidate_right, comparison.sha256
    assert found == (only_old, only_new, old)


def test_a_refusal_is_recorded_once(workspace: Workspace) -> None:
    answer(workspace, 9, 0)
    refused(workspace)
    with nothing_changes(workspace), pytest.raises(RefusedError):
        run(workspace)


def answer_live(workspace: Workspace, images: int, only_old: int, only_new: int) -> None:
    """The same on the live test set as `answer` on the test set, on which both models agree."""
    live = np.zeros((images, 28, 28), np.uint8)
    live[:only_old, 0, 1] = 7
    live[only_old : only_old + only_new, 0, 0] = 7
    releases_helpers.write_live_set(workspace, live)
    answer(workspace, 0, 0)


@pytest.mark.parametrize(
    ("images", "only_old", "only_new", "expected"),
    [
        (300, 0, 0, "not inferior"),
        (300, 0, 90, "not inferior"),  # no better on the test set
        (300, 20, 0, "inferior"),
        (299, 299, 0, "not inferior"),  # too few images
    ],
)
def test_a_model_must_not_be_inferior_on_the_live_test_set(
    workspace: Workspace, images: int, only_old: int, only_new: int, expected: str
) -> None:
    answer_live(workspace, images, only_old, only_new)
    if expected == "inferior":
        refused(workspace, "live test set")
    else:
        run(workspace)
    assert verdict(workspace) == expected
    report = ReleaseReport.read(workspace.release_report)
    live = [each for each in report.comparisons if each.on == "live test set"]
    judged = images >= 300
    assert len(live) == judged
    assert report.live_sha256 == (sha256(workspace.live_set) if judged else None)
    for each in live:
        found = each.images, each.only_baseline_right, each.only_candidate_right, each.margin
        assert found == (images, only_old, only_new, 0.05)
    (line,) = (
        each for each in Ledger(workspace.ledger).read() if each.act in ("register", "refuse")
    )
    assert line.comparisons == report.comparisons
    assert line.live_sha256 == report.live_sha256


def test_another_live_test_set_is_another_look_at_the_same_model(workspace: Workspace) -> None:
    answer_live(workspace, 300, 20, 0)
    refused(workspace, "live test set")
    refused(workspace, "live test set")  # the same look
    assert ReleaseReport.read(workspace.release_report).look == 1
    live = np.zeros((320, 28, 28), np.uint8)
    releases_helpers.write_live_set(workspace, live)
    pass_gate(workspace)
    run(workspace)
    assert ReleaseReport.read(workspace.release_report).look == 2


def test_the_live_test_set_must_be_the_one_that_was_measured(workspace: Workspace) -> None:
    answer_live(workspace, 300, 0, 0)
    releases_helpers.write_live_set(workspace, np.ones((300, 28, 28), np.uint8))
    with pytest.raises(UserError, match=r"evaluation/live\.json.*data/live\.safetensors"):
        run(workspace)


def test_a_model_must_not_be_inferior_to_the_best_release_either(workspace: Workspace) -> None:
    """Otherwise each release could be slightly worse than the last."""
    run(workspace)  # column 1
    new_candidate(workspace, 2, only_old=4, only_new=0)
    run(workspace, margin=0.2)
    assert champion_number(workspace) == 2
    stub(workspace.model, 3)  # right where column 2 is, and wrong on four more
    images = np.zeros((IMAGES, 28, 28), np.uint8)
    images[:4, 0, 2] = images[:8, 0, 3] = 7
    releases_helpers.write_test_set(workspace, images)
    pass_gate(workspace)
    refused(workspace, "best release", margin=0.19)
    titles = [each.baseline for each in ReleaseReport.read(workspace.release_report).comparisons]
    assert titles == ["champion", "best release"]


def test_looks_at_a_test_set_are_counted_and_end(workspace: Workspace) -> None:
    run(workspace)
    for look, column in enumerate((2, 3), 2):
        stub(workspace.model, column)
        pass_gate(workspace)
        run(workspace, looks=3)
        run(workspace, looks=3)  # not another look
        assert ReleaseReport.read(workspace.release_report).look == look
    stub(workspace.model, 4)
    pass_gate(workspace)
    run(workspace, looks=3)
    assert verdict(workspace) == "undecided"
    assert champion_number(workspace) == 3
    new_candidate(workspace, 5, 0, 1)  # another test set
    run(workspace, looks=3)
    assert champion_number(workspace) == 5


def test_stored_answers_replace_the_run_of_a_release(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workspace)
    stub(workspace.model, 2)
    pass_gate(workspace)
    digests: list[str] = []
    original = OnnxModel.run

    def watched(model: OnnxModel, *arguments: Any) -> Any:
        digests.append(model.sha256)
        return original(model, *arguments)

    monkeypatch.setattr(OnnxModel, "run", watched)
    run(workspace)
    assert set(digests) == {sha256(workspace.model)}


@pytest.mark.parametrize("kind", ["file", "folder", "folder with releases"])
def test_another_baseline_can_be_named(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In a pull request, it is the released model of the base branch, not that of the branch."""
    base = Workspace(tmp_path / "base")
    if kind == "folder with releases":
        make_release(base, 0)
    else:
        stub(base.models / "mnist-cnn.onnx", 0)
    stub(workspace.released_model, 1)
    stub(workspace.model, 2)
    images = np.zeros((IMAGES, 28, 28), np.uint8)
    images[:9, 0, 2] = images[:9, 0, 1] = 7
    releases_helpers.write_test_set(workspace, images)
    pass_gate(workspace)
    named = base.released_model if kind == "file" else base.models
    monkeypatch.setenv("PIPELINE_BASELINE", str(named))
    refused(workspace)
    monkeypatch.setenv("PIPELINE_BASELINE", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"PIPELINE_BASELINE.*nowhere"):
        run(workspace)
    monkeypatch.delenv("PIPELINE_BASELINE")
    run(workspace)


@pytest.mark.parametrize("fault", ["broken", "unsigned", "other outputs"])
def test_a_person_decides_if_the_released_model_is_not_comparable(
    workspace: Workspace, fault: str
) -> None:
    released = workspace.released_model
    match fault:
        case "broken":
            released.write_bytes(b"noise")
        case "unsigned":  # from before models had signatures
            stub(released, column=0, signed=False)
        case "other outputs":
            model = onnx.load(released)
            model.graph.output.pop()
            onnx.save(model, released)
    old = sha256(released)
    run(workspace)
    assert verdict(workspace) == "undecided"
    assert sha256(workspace.released_model) == old
    acts.promote(workspace, 1, "it is all we have")
    assert sha256(workspace.released_model) == sha256(workspace.model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_set": "Alphabet"}, ["Alphabet", "MNIST"]),  # same labels and form
        ({"labels": tuple("987654321O")}, ["9, 8, 7", "O", "0, 1, 2"]),
        ({"labels": tuple("0123456789O")}, ["8, 9, O", "7, 8, 9"]),
        ({"form": ImageForm(height=32, width=32, ink=20)}, ["32 x 32 pixels", "28 x 28 pixels"]),
        ({"form": ImageForm(height=28, width=28, ink=24)}, ["ink of 24", "ink of 20"]),
    ],
    ids=str,
)
def test_a_released_model_of_another_task_is_reported_with_the_difference(
    workspace: Workspace, change: dict[str, Any], said: list[str]
) -> None:
    stub(workspace.released_model, 0, replace(TASK, **change))
    run(workspace)
    assert verdict(workspace) == "undecided"
    reason = ReleaseReport.read(workspace.release_report).reason
    assert all(words in reason for words in said)
    assert champion_number(workspace) is None


def test_after_a_rollback_a_person_promotes(workspace: Workspace) -> None:
    for column in (1, 2):
        stub(workspace.model, column)
        pass_gate(workspace)
        run(workspace)
    acts.rollback(workspace)
    run(workspace)  # the same model again
    assert champion_number(workspace) == 1
    stub(workspace.model, 3)
    pass_gate(workspace)
    run(workspace)
    run(workspace)
    assert champion_number(workspace) == 1
    assert ReleaseReport.read(workspace.release_report).held
    acts.promote(workspace, 3, "the fault is mended")
    stub(workspace.model, 4)
    pass_gate(workspace)
    run(workspace)
    assert champion_number(workspace) == 4


def test_a_held_release_is_registered_and_never_promoted_by_the_stage(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv(HOLD.name, "1")
        run(workspace)
    run(workspace)
    assert champion_number(workspace) is None
    assert ReleaseReport.read(workspace.release_report).held
    acts.promote(workspace, 1, "its trial passed")
    assert champion_number(workspace) == 1


def test_both_models_run_on_the_provider_of_the_evaluation(workspace: Workspace) -> None:
    """The comparison uses the provider of the metrics, a GPU included."""
    settings = params(workspace)
    evaluate = settings.evaluate.model_copy(update={"providers": ("MissingExecutionProvider",)})
    with pytest.raises(UserError, match="MissingExecutionProvider"):
        release.run(workspace, settings.model_copy(update={"evaluate": evaluate}), TASK)


# consistency


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"passed": False}, UserError, "does not follow"),  # edited
        ({"passed": "true"}, UserError, "passed"),
        ({"passed": 1}, UserError, "passed"),
        ({"passed": None}, UserError, "passed"),
        ({"schema_version": None}, UserError, "no schema version"),
        ({"model_sha256": "0" * 64}, UserError, "models"),
        ({"model_sha256": None}, UserError, "model_sha256"),
    ],
    ids=str,
)
def test_an_edited_or_foreign_verdict_releases_nothing(
    workspace: Workspace, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    edit(workspace.gate_report, **change)
    with nothing_changes(workspace), pytest.raises(error, match=rf"gate\.json.*{said}"):
        run(workspace)


def test_a_refused_model_is_not_released(workspace: Workspace) -> None:
    write_verdict(workspace, passed=False, model_sha256=sha256(workspace.model))
    with nothing_changes(workspace), pytest.raises(RefusedError, match="gate"):
        run(workspace)


@pytest.mark.parametrize("change", [{"min_accuracy": 0.999}, {"parameters": 1}], ids=str)
def test_nothing_is_released_by_a_verdict_on_other_criteria(
    workspace: Workspace, change: dict[str, Any]
) -> None:
    """A stricter gate than that which the model passed is not passed yet."""
    settings = params(workspace)
    gate = settings.gate.model_copy(update=change)
    with nothing_changes(workspace), pytest.raises(RefusedError, match=r"the criteria in"):
        release.run(workspace, settings.model_copy(update={"gate": gate}), TASK)


@pytest.mark.parametrize("name", ["metrics", "behaviour", "speed", "per_class"])
def test_figures_edited_after_the_gate_are_detected(workspace: Workspace, name: str) -> None:
    """Otherwise the card would state figures that the gate has not checked."""
    path = getattr(workspace, name)
    path.write_text(re.sub(r"\.\d", ".3", path.read_text(), count=1))
    with nothing_changes(workspace), pytest.raises(UserError, match=rf"{path.name} .*gate"):
        run(workspace)


def test_a_model_changed_after_the_gate_is_refused(workspace: Workspace) -> None:
    workspace.model.write_bytes(b"noise")
    with nothing_changes(workspace), pytest.raises(RefusedError, match=r"gate\.json .*model\.onnx"):
        run(workspace)


def test_a_model_that_does_not_run_is_an_error(workspace: Workspace) -> None:
    workspace.model.write_bytes(b"noise")
    pass_gate(workspace)
    with pytest.raises(UserError, match=r"artifacts/model\.onnx cannot be loaded"):
        run(workspace)


def test_a_test_set_changed_after_the_evaluation_is_refused(workspace: Workspace) -> None:
    releases_helpers.write_test_set(workspace, np.zeros((1, 28, 28), np.uint8))
    with (
        nothing_changes(workspace),
        pytest.raises(UserError, match=r"subject\.json .*test\.safetensors"),
    ):
        run(workspace)


@pytest.mark.parametrize("changes", [{"weights_sha256": "0" * 64}, {"model": "another"}], ids=str)
def test_a_model_of_other_weights_or_another_task_is_not_released(
    workspace: Workspace, changes: dict[str, str]
) -> None:
    model = onnx.load(workspace.model)
    other = signature().model_copy(update=changes).to_metadata()
    onnx.helper.set_model_props(model, other)
    onnx.save(model, workspace.model)
    pass_gate(workspace)
    with (
        nothing_changes(workspace),
        pytest.raises(UserError, match=r"model\.onnx is .*`dvc repro`"),
    ):
        run(workspace)


@pytest.mark.parametrize("name", ["speed", "per_class", "training_report", "gate_report"])
def test_a_failed_first_release_leaves_no_files(workspace: Workspace, name: str) -> None:
    shutil.rmtree(workspace.models)
    path = getattr(workspace, name)
    path.unlink()
    with nothing_changes(workspace), pytest.raises(UserError, match=f"{path.name} is missing"):
        run(workspace)


def test_an_experiment_writes_its_verdict_and_releases_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes neither models/ nor MLflow's champion, which others use."""
    monkeypatch.setenv("DVC_EXP_NAME", "test")
    before = everything(workspace.models)
    run(workspace)
    assert verdict(workspace) == "not inferior"
    answer(workspace, 20, 0)
    run(workspace)
    assert verdict(workspace) == "inferior"
    assert everything(workspace.models) == before | {"releases": b"(folder)"}  # DVC expects it


# the card


def test_the_card_contains_metadata_and_figures_of_the_reports(workspace: Workspace) -> None:
    run(workspace)
    _, front, text = workspace.model_card.read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["datasets"] == ["ylecun/mnist"]
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures == {"accuracy": METRICS.accuracy, "loss": METRICS.loss}
    assert model["name"] == "mnist-cnn"
    assert "**99.40%**, 95 % Clopper-Pearson interval 99.00% to 99.60%" in text
    assert "| misclassified | 60 images |" in text
    assert f"| {DISTORTIONS['shifted'].title} | 99.00% |" in text
    assert "| noise | 97.0% |" in text
    assert "| 7 | 0.9900 | 0.9800 | 0.9850 | 50 |" in text
    assert "\n2 epochs over the 57,000\n" in text
    assert "{" not in text.replace("{np", "").replace('{"images": images}', "")


def test_the_card_of_another_task_does_not_mention_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, shapes, classes and the file name come from the signature."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setattr(provenance, "repository", lambda root: None)
    workspace = make_workspace(tmp_path / "letters", LETTERS)
    release.run(workspace, params(workspace), LETTERS)
    assert workspace.released_model.name == "letters-cnn.onnx"
    text = workspace.model_card.read_text()
    metadata = yaml.safe_load(text.split("---\n", 2)[1])
    assert metadata["tags"] == ["onnx"]
    assert metadata["model-index"][0]["name"] == "letters-cnn"
    assert not re.search("mnist|digit|28|census|handwriting", text, re.IGNORECASE)
    for said in (
        "# letters-cnn",
        "| uint8 | N × 32 × 30 |",
        "| float32 | N × 26 |",
        "np.zeros((1, 32, 30), np.uint8)",
        "| letter | precision |",
        "| Q | 0.9900 |",
        "24 × 24 pixels",
    ):
        assert said in text


def test_the_card_escapes_labels_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar would start another table cell; a colon or a quote would break the YAML header."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setattr(provenance, "repository", lambda root: None)
    shapes = replace(LETTERS, data_set='Shapes: "new" #2', labels=("a|b", "*c*", "<d>"))
    workspace = make_workspace(tmp_path / "shapes", shapes)
    release.run(workspace, params(workspace), shapes)
    _, front, text = workspace.model_card.read_text().split("---\n", 2)
    (result,) = yaml.safe_load(front)["model-index"][0]["results"]
    assert result["dataset"]["name"] == 'Shapes: "new" #2'
    rows = text.partition("| precision |")[2].splitlines()[2:5]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    assert [row[0].strip() for row in cells] == [r"a\|b", r"\*c\*", r"\<d\>"]
    assert {len(row) for row in cells} == {5}


# provenance


def is_digest(digest: dict[str, str]) -> bool:
    lengths = {"sha256": 64, "gitCommit": 40}
    return bool(digest) and all(
        re.fullmatch(f"[0-9a-f]{{{lengths[kind]}}}", value) for kind, value in digest.items()
    )


def assert_is_slsa_provenance(statement: Any) -> None:
    """Check the requirements of in-toto's Statement v1 and SLSA's provenance v1."""
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"]
    definition, details = (
        statement["predicate"][part] for part in ("buildDefinition", "runDetails")
    )
    assert urlsplit(definition["buildType"]).scheme
    assert definition["externalParameters"]
    assert urlsplit(details["builder"]["id"]).scheme
    moment = details["metadata"]["startedOn"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", moment)
    resources = definition["resolvedDependencies"] + details["byproducts"]
    for resource in statement["subject"] + resources:
        assert "name" in resource
        assert resource.keys() <= {"name", "uri", "digest", "annotations"}
        if "digest" in resource:
            assert is_digest(resource["digest"])


@pytest.mark.parametrize("revision", ["a" * 40, f"{'a' * 40}-dirty", "unknown"])
def test_provenance_is_valid_even_without_a_clean_commit(
    workspace: Workspace, revision: str
) -> None:
    """With local changes or without git it states no commit digest."""
    edit(workspace.training_report, git_revision=revision)
    run(workspace)
    statement = json.loads(workspace.provenance.read_text())
    assert_is_slsa_provenance(statement)
    digest = {"sha256": hashlib.sha256(workspace.released_model.read_bytes()).hexdigest()}
    assert statement["subject"] == [{"name": "mnist-cnn.onnx", "digest": digest}]
    (source,) = [
        item
        for item in statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        if item["name"] == "source"
    ]
    assert source["annotations"] == {"revision": revision}
    origin = provenance.Origin.read(workspace.provenance)
    assert origin.model_sha256 == digest["sha256"]
    assert (origin.run_id, origin.started) == (TRAINING.run_id, TRAINING.started)


@pytest.mark.parametrize(
    "damage",
    [
        (TRAINING.started, "yesterday"),
        (f'"{TRAINING.started}"', "7"),
        (f'"{TRAINING.run_id}"', "null"),
        (f'"{TRAINING.run_id}"', '""'),
        ('"subject": [', '"subject": [[],'),
        ('"sha256"', '"sha512"'),
        ('"sha256": "', '"sha256": "x'),
        ("{", "["),
        ("runDetails", "details"),
    ],
    ids=str,
)
def test_damaged_provenance_is_refused_in_one_line(
    workspace: Workspace, damage: tuple[str, str]
) -> None:
    """Otherwise MLflow would assign the release to another training, or fail with a traceback."""
    run(workspace)
    workspace.provenance.write_text(workspace.provenance.read_text().replace(*damage))
    with pytest.raises(UserError, match=r"provenance\.json.*`dvc repro`") as error:
        provenance.Origin.read(workspace.provenance)
    assert "\n" not in str(error.value)


def test_provenance_and_card_describe_the_training_not_the_current_files(
    workspace: Workspace,
) -> None:
    """A lock, data and params changed after the training did not produce this model."""
    edit(workspace.training_report, requirements_sha256="b" * 64)
    workspace.requirements.write_text("another lock")
    workspace.training_set.write_text("another training set")
    settings = params(workspace)
    later = settings.model_copy(update={"train": replace(settings.train, epochs=7)})
    snapshot = read_snapshot(workspace)
    definition = provenance.provenance(workspace, later, snapshot, "model.onnx")["predicate"][
        "buildDefinition"
    ]
    digests = {item["name"]: item.get("digest") for item in definition["resolvedDependencies"]}
    assert digests["requirements.txt"] == {"sha256": "b" * 64}
    assert digests["data/train.safetensors"] == {"sha256": TRAINING.data_sha256}
    assert digests["weights"] == {"sha256": TRAINING.weights_sha256}
    assert definition["externalParameters"]["params"]["train"] == TRAINING.params
    assert "\n2 epochs over" in release.model_card(snapshot, signature(), later, TASK)


def test_provenance_on_github_names_the_workflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "us/digits/.github/workflows/release.yml@v1")
    assert provenance.builder() == "https://github.com/us/digits/.github/workflows/release.yml@v1"
