"""models/ contains a complete release that passed the gate and is not worse than the last."""

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
from pipeline.core.reports import JudgedProviders, Subject
from pipeline.core.snapshot import read_snapshot
from pipeline.core.task import ImageForm
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.inference.choice import find_judged, unpack
from pipeline.mnist import TASK
from pipeline.registry import promotion, provenance
from pipeline.stages import release
from pipeline.tracking import Component, background
from tests import releases
from tests.checkout import PROJECT
from tests.folders import everything
from tests.releases import answer, make_workspace, pass_gate, signature, stub
from tests.reports import (
    CPU_REPORT,
    METRICS,
    OPENVINO_REPORT,
    TRAINING,
    edit,
    gate_params,
    write_verdict,
)

FILES = ["MODEL_CARD.md", "SHA256SUMS", "mnist-cnn.onnx", "provenance.json", "providers.json"]
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


def run(workspace: Workspace, baseline: Path | None = None, **settings: Any) -> None:
    """Run the stage with these values of the section release in params.yaml."""
    release.run(workspace, params(workspace, **settings), TASK, baseline)


@cache
def default_params() -> Params:
    """The project's params; cached, since reading YAML is slow."""
    return load_params(PROJECT / "params.yaml")


def params(workspace: Workspace, **settings: Any) -> Params:
    """Those by which the model passed the gate."""
    params = default_params()
    release = params.release.model_copy(update=settings)
    gate = gate_params(Subject.read(workspace.subject).test_sha256)
    return params.model_copy(update={"release": release, "gate": gate})


@contextmanager
def nothing_changes(workspace: Workspace) -> Iterator[None]:
    before = everything(workspace.root)
    yield
    assert everything(workspace.root) == before


def test_a_release_consists_of_five_files_with_valid_checksums(workspace: Workspace) -> None:
    before = {path.name for path in workspace.root.iterdir()}
    run(workspace)
    folder = workspace.models
    assert sorted(path.name for path in folder.iterdir()) == FILES
    lines = [line.split("  ") for line in workspace.checksums.read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    assert listed == {name: sha256(folder / name) for name in FILES if name != "SHA256SUMS"}
    assert workspace.released_model.read_bytes() == workspace.model.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.name for path in workspace.root.iterdir()} == before  # no temporary folder
    workspace.check_places()


def test_a_release_names_the_providers_that_the_gate_judged(workspace: Workspace) -> None:
    run(workspace)
    record = JudgedProviders.read(workspace.judged_providers)
    assert record.model_sha256 == sha256(workspace.released_model)
    assert record.providers == [CPU_REPORT.name, OPENVINO_REPORT.name]
    assert record.max_logit_difference == OPENVINO_REPORT.max_logit_difference
    assert find_judged(workspace.released_model, record.model_sha256) == record
    training = read_tensors(workspace.training_set)["images"]
    np.testing.assert_array_equal(unpack(record.images, TASK.form), training[: release.SAMPLES])


def test_a_release_records_what_it_replaces(workspace: Workspace) -> None:
    """MLflow's alias depends on it."""
    old = sha256(workspace.released_model)
    run(workspace)
    new = sha256(workspace.released_model)
    assert promotion.replaced_by(workspace, new) == frozenset({old})


@pytest.mark.parametrize("experiment", [False, True])
@pytest.mark.parametrize("only_old", [0, 9])
def test_the_gates_verdict_is_published_even_without_a_release(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, only_old: int, experiment: bool
) -> None:
    published: list[str] = []

    def publish(workspace: Workspace, *components: Component) -> None:
        published.extend(components or Component)

    monkeypatch.setattr(background, "publish", publish)
    answer(workspace, only_old, 0)
    if experiment:
        monkeypatch.setenv("DVC_EXP_NAME", "bold-ibex")
    if only_old and not experiment:
        with pytest.raises(RefusedError):
            run(workspace)
        assert published == ["training"]
    else:
        run(workspace)
        assert sorted(published) == ["backprop", "release", "training"]


# McNemar's test


@pytest.mark.parametrize(
    ("only_old", "only_new", "significance", "refused"),
    [
        (20, 8, 0.05, True),  # p = 0.036
        (14, 8, 0.05, False),  # p = 0.29: possibly chance
        (8, 20, 0.05, False),
        (6, 0, 0.05, True),  # p = 2 / 2^6
        (5, 0, 0.05, False),  # p = 2 / 2^5
        (5, 0, 0.07, True),
        (20, 8, 0.03, False),
        (1, 0, 1.0, False),  # p = 1 is not below any level
        (0, 0, 1.0, False),
    ],
)
def test_only_a_significantly_worse_model_is_refused(
    workspace: Workspace, only_old: int, only_new: int, significance: float, refused: bool
) -> None:
    """A model that is worse by chance is released."""
    answer(workspace, only_old, only_new)
    if refused:
        said = f"significantly better: .* right on {only_old} .*on {only_new},"
        with nothing_changes(workspace), pytest.raises(RefusedError, match=said):
            run(workspace, significance=significance)
        run(workspace, significance=significance, allow_regression=True)
    else:
        run(workspace, significance=significance)
    assert sha256(workspace.released_model) == sha256(workspace.model)


def test_another_baseline_can_be_given(workspace: Workspace, tmp_path: Path) -> None:
    answer(workspace, 20, 0)
    worse, better = tmp_path / "worse.onnx", tmp_path / "better.onnx"
    stub(better, column=0)
    stub(worse, column=1)
    with pytest.raises(RefusedError, match="significantly better"):
        run(workspace, baseline=better)
    run(workspace, baseline=worse)


def test_a_first_release_requires_no_comparison(workspace: Workspace) -> None:
    shutil.rmtree(workspace.models)
    run(workspace)
    assert sorted(path.name for path in workspace.models.iterdir()) == FILES


@pytest.mark.parametrize("fault", ["broken", "unsigned", "other outputs"])
def test_an_incomparable_released_model_can_be_overridden(
    workspace: Workspace, fault: str, capsys: pytest.CaptureFixture[str]
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
    said = r"mnist-cnn\.onnx.*allow_regression"
    with nothing_changes(workspace), pytest.raises(RefusedError, match=said) as error:
        run(workspace)
    assert "\n" not in str(error.value)
    run(workspace, allow_regression=True)
    assert "allow_regression is true" in capsys.readouterr().out


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
    with nothing_changes(workspace), pytest.raises(RefusedError) as error:
        run(workspace)
    assert all(words in str(error.value) for words in [*said, "allow_regression"])
    run(workspace, allow_regression=True)


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
        run(workspace, allow_regression=True)


def test_a_test_set_changed_after_the_evaluation_is_refused(workspace: Workspace) -> None:
    releases.write_test_set(workspace, np.zeros((1, 28, 28), np.uint8))
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


def test_an_experiment_reports_the_comparison_and_releases_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It changes neither models/ nor MLflow's champion, which others use."""
    monkeypatch.setenv("DVC_EXP_NAME", "test")
    with nothing_changes(workspace):
        run(workspace)
    said = capsys.readouterr().out
    assert "McNemar p = 1" in said
    assert "an experiment releases nothing" in said
    assert "refused" not in said
    answer(workspace, 20, 0)
    with nothing_changes(workspace):
        run(workspace)
    assert "would be refused: the released model is significantly better" in capsys.readouterr().out
    shutil.rmtree(workspace.models)
    run(workspace)
    assert list(workspace.models.iterdir()) == []  # DVC expects the folder


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
