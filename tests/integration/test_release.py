"""models/ holds a whole release that passed the gate and is no worse than the one before it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import onnx
import onnxruntime
import pytest
import yaml
from onnx import numpy_helper
from safetensors.numpy import load_file

from pipeline.config import load_params
from pipeline.core.errors import RefusedError, UserError
from pipeline.registry.provenance import provenance
from pipeline.stages import release
from tests.workspace import Workspace

FILES = ["MODEL_CARD.md", "SHA256SUMS", "mnist-cnn.onnx", "provenance.json"]
MODEL, GATE = "artifacts/model.onnx", "reports/gate.json"
SUMMARY = "reports/train/summary.json"
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture(scope="module")
def workspace(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project that has run its DAG once and released the model of that run."""
    return finished.copy(tmp_path_factory.mktemp("release") / "project")


@pytest.fixture(autouse=True)
def restored(workspace: Workspace, tmp_path: Path) -> Iterator[None]:
    """Put what a test changed of the inputs and of models/ back."""
    kept = ["models", "artifacts", "reports", "params.yaml"]
    for name in kept:
        copy = shutil.copytree if (workspace.path / name).is_dir() else shutil.copy
        copy(workspace.path / name, tmp_path / name)
    yield
    for name in kept:
        target = workspace.path / name
        if (tmp_path / name).is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(tmp_path / name, target)
        else:
            shutil.copy(tmp_path / name, target)


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder and what they hold; bytecode, locks and git's own left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"(folder)"
        for path in folder.rglob("*")
        if not {".git", ".dvc", "__pycache__", "workspace.lock"} & set(path.parts)
    }


@contextmanager
def nothing_changes(workspace: Workspace) -> Iterator[None]:
    """Assert that the block leaves models/, the registry and all else in the project alone."""
    before = everything(workspace.path)
    yield
    after = everything(workspace.path)
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()


def sums_verify(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def report(workspace: Workspace, name: str) -> Any:
    return json.loads((workspace.path / name).read_text())


def spoil(workspace: Workspace) -> None:
    """Make the new model one that always gives the same answer, and a gate that passed it."""
    model = onnx.load(workspace.path / MODEL)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim == 2:  # of the last map, to the logits
            weights.CopyFrom(numpy_helper.from_array(values * 0, weights.name))
    onnx.save(model, workspace.path / MODEL)
    assert model_accuracy(workspace, MODEL) < 0.2
    change_gate(workspace, model_sha256=workspace.sha256(MODEL))


def change_gate(workspace: Workspace, **changes: Any) -> None:
    (workspace.path / GATE).write_text(json.dumps(report(workspace, GATE) | changes))


def model_accuracy(workspace: Workspace, model: str) -> float:
    """What a model file really reaches on the test digits, by ONNX Runtime alone."""
    test = load_file(workspace.path / "expected.safetensors")
    session = onnxruntime.InferenceSession(
        workspace.path / model, providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"images": test["images"]})[0]
    return float((logits.argmax(1) == test["labels"]).mean())


def test_a_release_is_four_files_that_its_checksums_verify(workspace: Workspace) -> None:
    folder = workspace.path / "models"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    listed = [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert sorted(listed) == [name for name in FILES if name != "SHA256SUMS"]
    assert sums_verify(folder)
    assert workspace.sha256("models/mnist-cnn.onnx") == workspace.sha256(MODEL)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_release_leaves_no_temporary_folder(workspace: Workspace) -> None:
    hidden = {path.name for path in workspace.path.iterdir() if path.name.startswith(".")}
    assert hidden == {".dvc", ".dvcignore", ".git", ".gitignore"}


def is_digest(digest: dict[str, str]) -> bool:
    lengths = {"sha256": 64, "gitCommit": 40}
    return bool(digest) and all(
        re.fullmatch(f"[0-9a-f]{{{lengths[kind]}}}", value) for kind, value in digest.items()
    )


def assert_is_slsa_provenance(statement: Any) -> None:
    """What in-toto's Statement v1 and SLSA's provenance v1 require."""
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


def test_provenance_is_a_statement_about_the_released_file(workspace: Workspace) -> None:
    statement = report(workspace, "models/provenance.json")
    assert_is_slsa_provenance(statement)
    digest = {"sha256": workspace.sha256("models/mnist-cnn.onnx")}
    assert statement["subject"] == [{"name": "mnist-cnn.onnx", "digest": digest}]


def test_provenance_says_from_what_the_model_was_made(workspace: Workspace) -> None:
    predicate = report(workspace, "models/provenance.json")["predicate"]
    definition = predicate["buildDefinition"]
    found = {
        item["name"]: next(iter(item["digest"].values()))
        for item in definition["resolvedDependencies"] + predicate["runDetails"]["byproducts"]
    }
    commit = workspace.run("git", "rev-parse", "HEAD").stdout.strip()
    assert found.pop("source") == commit
    assert found.pop("weights") == workspace.sha256("artifacts/weights.safetensors")
    assert {"data/train.safetensors", "reports/gate.json"} <= set(found)
    assert found == {name: workspace.sha256(name) for name in found}
    params = yaml.safe_load((workspace.path / "params.yaml").read_text())
    del params["backprop"], params["flow"]  # which have no part in the model
    assert definition["externalParameters"]["params"] == params


def test_provenance_is_of_the_training_not_of_what_is_in_the_folder_now(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new lock and other params after the training did not make this model."""
    monkeypatch.chdir(workspace.path)
    summary = json.loads(Path(SUMMARY).read_text())
    summary["requirements_sha256"] = "a" * 64
    Path(SUMMARY).write_text(json.dumps(summary))
    workspace.set_params({"train": {"epochs": 7}})
    definition = provenance(load_params())["predicate"]["buildDefinition"]
    digests = {item["name"]: item.get("digest") for item in definition["resolvedDependencies"]}
    assert digests["requirements.txt"] == {"sha256": "a" * 64}
    assert definition["externalParameters"]["params"]["train"] == summary["params"]
    assert (
        release.model_card(load_params()).count(f"\n{summary['params']['epochs']} epochs over") == 1
    )


@pytest.mark.parametrize("revision", ["{commit}-dirty", "unknown"])
def test_provenance_is_valid_without_a_clean_commit(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    """Of a tree with changes, or without git, it claims no digest that is none."""
    monkeypatch.chdir(workspace.path)
    path = workspace.path / SUMMARY
    summary = json.loads(path.read_text())
    summary["git_revision"] = revision.format(commit="a" * 40)
    path.write_text(json.dumps(summary))
    statement = provenance(load_params())
    assert_is_slsa_provenance(statement)
    assert revision.format(commit="a" * 40).removeprefix("a" * 40) in json.dumps(statement)


def test_the_card_has_metadata_and_the_true_accuracy(workspace: Workspace) -> None:
    _, front, text = (workspace.path / "models/MODEL_CARD.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["library_name"] == "onnx"
    (result,) = metadata["model-index"][0]["results"]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    accuracy = model_accuracy(workspace, "models/mnist-cnn.onnx")
    assert figures["accuracy"] == accuracy
    assert isinstance(figures["loss"], float)
    assert f"**{accuracy:.2%}**" in text
    assert f"| misclassified | {round(500 * (1 - accuracy))} images |" in text
    assert "{" not in text.replace("{np", "").replace('{"images": images}', "")


def test_the_code_on_the_card_runs(workspace: Workspace) -> None:
    card = (workspace.path / "models/MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    program = code + "print(logits.shape, probabilities.sum().round(3))"
    result = workspace.run("env", "--chdir=models", sys.executable, "-c", program)
    assert result.stdout.split() == ["(1,", "10)", "1.0"], result.stderr


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        "{",
        "[]",
        "true",
        {"passed": False},
        {"passed": "true"},
        {"passed": 1},
        {"passed": None},
        {"model_sha256": "0" * 64},
        {"model_sha256": None},
    ],
    ids=lambda verdict: "missing" if verdict is None else str(verdict)[:30],
)
def test_nothing_is_released_without_a_verdict_that_passed_this_file(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, verdict: Any
) -> None:
    monkeypatch.chdir(workspace.path)
    if isinstance(verdict, dict):
        change_gate(workspace, **verdict)
    elif verdict is None:
        Path(GATE).unlink()
    else:
        Path(GATE).write_text(verdict)
    with nothing_changes(workspace), pytest.raises((RefusedError, UserError), match=r"gate\.json"):
        release.run(load_params())


def test_a_changed_model_is_not_the_one_that_passed(workspace: Workspace) -> None:
    passed = report(workspace, GATE)["model_sha256"]
    spoil(workspace)
    change_gate(workspace, model_sha256=passed)
    with nothing_changes(workspace):
        result = workspace.pipeline("release")
    assert result.returncode == 1
    assert result.stderr.startswith("error: reports/gate.json is about another file")
    assert len(result.stderr.splitlines()) == 1


def test_without_a_gate_report_the_exit_status_is_2(workspace: Workspace) -> None:
    (workspace.path / GATE).unlink()
    with nothing_changes(workspace):
        result = workspace.pipeline("release")
    assert result.returncode == 2
    assert result.stderr.startswith("error: reports/gate.json is missing")


def champion(workspace: Workspace) -> str:
    """The digest of the model that the registry's alias points to."""
    program = (
        "import pipeline.tracking\n"
        "from mlflow import MlflowClient\n"
        "client = MlflowClient()\n"
        "print(client.get_model_version_by_alias('mnist-cnn', 'champion').tags['sha256'])"
    )
    return workspace.run(sys.executable, "-c", program).stdout.strip()


def test_a_significantly_worse_model_is_refused_unless_params_allow_it(
    workspace: Workspace,
) -> None:
    good = workspace.sha256("models/mnist-cnn.onnx")
    spoil(workspace)
    with nothing_changes(workspace):
        refused = workspace.pipeline("release")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "significantly better" in line
    assert "release.allow_regression" in line

    workspace.set_params({"release": {"allow_regression": True}})
    allowed = workspace.pipeline("release")
    assert allowed.returncode == 0, allowed.stderr
    assert "allow_regression is true" in allowed.stdout
    bad = workspace.sha256(MODEL)
    assert workspace.sha256("models/mnist-cnn.onnx") == bad != good
    assert sums_verify(workspace.path / "models")
    assert champion(workspace) == bad


def test_a_better_model_replaces_a_worse_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.path)
    good, verdict = Path(MODEL).read_bytes(), Path(GATE).read_text()
    spoil(workspace)
    shutil.copy(MODEL, "models/mnist-cnn.onnx")
    Path(MODEL).write_bytes(good)
    Path(GATE).write_text(verdict)
    release.compare_with_released(load_params())


@pytest.mark.parametrize("place", ["link", "mount", "artifacts mounted"])
def test_models_and_artifacts_may_lie_elsewhere(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """On another disk, by a link, or in a container: the release is there, as always."""
    monkeypatch.chdir(workspace.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    folder = Path("artifacts" if place == "artifacts mounted" else "models")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    for old in ("models/MODEL_CARD.md", elsewhere / "MODEL_CARD.md"):
        Path(old).write_text("the old card")
    if place == "link":
        shutil.rmtree(folder)
        folder.symlink_to(elsewhere)
    else:
        command = ["mount", "-t", "tmpfs", "none", str(folder)]
        if subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("nothing can be mounted here")
        shutil.copytree(elsewhere, folder, dirs_exist_ok=True)
    try:
        release.run(load_params())
        assert sums_verify(Path("models"))
        assert sums_verify(elsewhere) == (place == "link")
        assert len(list(Path("models").iterdir())) == 4
    finally:
        if place == "link":
            folder.unlink()
        else:
            subprocess.run(["umount", str(folder)], check=True)


def test_an_experiment_says_whether_it_could_be_released_and_releases_nothing(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither models/ of the checkout nor MLflow's champion, which others use."""
    monkeypatch.chdir(workspace.path)
    monkeypatch.setenv("DVC_EXP_NAME", "test")
    with nothing_changes(workspace):
        release.run(load_params())
    said = capsys.readouterr().out
    assert "McNemar p = 1" in said
    assert "an experiment releases nothing" in said
    assert "refused" not in said
    spoil(workspace)
    with nothing_changes(workspace):
        release.run(load_params())
    assert "would be refused: the released model is significantly better" in capsys.readouterr().out
    shutil.rmtree("models")
    release.run(load_params())
    assert list(Path("models").iterdir()) == []  # which DVC expects to be there


def test_dvc_keeps_an_experiment_whose_model_is_worse(workspace: Workspace) -> None:
    """Else hours of training in a folder of its own are thrown away with that."""
    spoil(workspace)
    program = """
import yaml
from pathlib import Path
stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
release = stages["release"] | {"deps": ["artifacts/model.onnx", "reports/gate.json"]}
Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"release": release}}))
"""
    before = everything(workspace.path / "models")
    dag = (workspace.path / "dvc.yaml").read_text()
    head = workspace.run("git", "rev-parse", "HEAD").stdout.strip()
    ignored = (workspace.path / ".gitignore").read_text()
    try:
        workspace.run(sys.executable, "-c", program).check_returncode()
        (workspace.path / ".gitignore").write_text("/mlflow.db*\n/mlartifacts/\n__pycache__/\n")
        workspace.run("git", "add", ".").check_returncode()
        workspace.run("git", *AUTHOR, "commit", "--quiet", "--message", "worse").check_returncode()
        experiment = workspace.run(
            "dvc", "exp", "run", "--temp", "--name", "worse", "--set-param",
            "release.significance=0.04",
        )  # fmt: skip
        assert experiment.returncode == 0, experiment.stderr
        assert "would be refused" in experiment.stdout
        assert "worse" in workspace.run("dvc", "exp", "list", "--name-only").stdout.split()
    finally:
        workspace.run("git", "reset", "--quiet", "--soft", head)
        workspace.run("git", "reset", "--quiet")
        (workspace.path / "dvc.yaml").write_text(dag)
        (workspace.path / ".gitignore").write_text(ignored)
    assert everything(workspace.path / "models") == before


KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from pipeline.config import load_params
from pipeline.stages import release

WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "ctypes.dlsym"}

def killed_at(step):
    counter = itertools.count(1)
    started = []

    def watch(event, arguments):
        if event == "subprocess.Popen" and "track" in arguments[1]:  # all is in place
            os.kill(os.getpid(), signal.SIGTERM)
        started.extend([event] if event == "tempfile.mkdtemp" else [])
        writes = event in WRITES and not (event == "open" and arguments[1] in ("r", "rb"))
        if started and writes and next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    release.run(load_params())

old, left = Path(sys.argv[1]), Path(sys.argv[2])
for step in itertools.count(1):
    child = os.fork()
    if child == 0:
        killed_at(step)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    (left / f"{step:02}").mkdir(parents=True)
    if Path("models").exists():
        shutil.copytree("models", left / f"{step:02}", dirs_exist_ok=True)
    if os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(0 if os.WTERMSIG(status) == signal.SIGTERM else "a release failed")
    shutil.rmtree("models", ignore_errors=True)
    shutil.copytree(old, "models")
    for scratch in Path(".").glob(".models-*"):
        shutil.rmtree(scratch)
"""


def test_sigkill_before_any_write_of_a_release_leaves_the_old_or_the_new(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Each process is killed by SIGKILL just before its n-th write, for all n."""
    spoil(workspace)
    workspace.set_params({"release": {"allow_regression": True}})
    shutil.copytree(workspace.path / "models", tmp_path / "old")
    result = workspace.run(
        sys.executable, "-c", KILLED, str(tmp_path / "old"), str(tmp_path / "left")
    )
    assert result.returncode == 0, result.stderr
    left = sorted((tmp_path / "left").iterdir())
    old, *found = [everything(folder) for folder in (tmp_path / "old", *left)]
    new = found[-1]
    assert new["mnist-cnn.onnx"] == (workspace.path / MODEL).read_bytes()
    kinds = ["old" if files == old else "new" if files == new else "neither" for files in found]
    assert set(kinds) == {"old", "new"}
    assert kinds == sorted(kinds, reverse=True)  # once new, it stays
    assert kinds.count("old") >= 15  # writes of the new files, beside the old ones
    assert all(sums_verify(folder) for folder in left)


FULL = """
mount -t tmpfs -o size=16m none disk || exit 77
cp -r project/. disk && cd disk || exit 78
free=$(df --output=avail -k . | tail -1)
head -c $(( (free - $1) * 1024 )) /dev/zero > filler
python -m pipeline release
status=$?
rm filler
cp -r . ../after
exit $status
"""


@pytest.mark.parametrize("free", [0, 40, 92], ids="{} KiB free".format)
def test_a_full_disk_leaves_the_old_release(
    workspace: Workspace, tmp_path: Path, free: int
) -> None:
    """With room for nothing, for half of the model, for the model but not for all the rest."""
    before = tmp_path / "project"
    for name in ("pipeline", "models", "artifacts", "data", "reports"):
        shutil.copytree(
            workspace.path / name, before / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("params.yaml", "requirements.txt"):
        shutil.copy(workspace.path / name, before / name)
    (tmp_path / "disk").mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("a small disk needs unshare, which is not installed")
    result = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh", str(free)],
        cwd=tmp_path,
        env=workspace.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if result.returncode == 77 or result.stderr.startswith("unshare:"):
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert re.match("error: No space left on device: .*models/", line)
    assert everything(tmp_path / "after") == everything(before)


def test_a_first_release_that_fails_leaves_no_half_of_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.path)
    shutil.rmtree("models")
    Path("reports/evaluation/speed.json").unlink()
    with pytest.raises(UserError, match=re.escape("speed.json is missing")):
        release.run(load_params())
    assert list(Path().glob("models/*")) == []
    assert list(Path().glob(".models-*")) == []
