"""Releases by the DAG and by the command: killed, on full disks, via links, in experiments."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import yaml
from safetensors.numpy import load_file

from pipeline.config import load_params
from pipeline.core.files import sha256
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.registry.provenance import repository
from pipeline.stages import release
from pipeline.tracking import store
from tests.checkout import PROJECT, UNTRACKED, Checkout, python
from tests.folders import everything
from tests.releases import answer, make_workspace
from tests.reports import edit

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An untracked workspace whose model has passed the gate."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    return make_workspace(tmp_path / "project")


def sums_verify(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def set_params(workspace: Workspace, **settings: Any) -> None:
    """Change values in the release section of params.yaml."""
    params = yaml.safe_load(workspace.params.read_text())
    params["release"] |= settings
    workspace.params.write_text(yaml.safe_dump(params))


# the whole DAG


def test_a_release_verifies_and_its_card_states_the_measured_accuracy(finished: Checkout) -> None:
    folder = finished.path / "models"
    assert sums_verify(folder)
    test = load_file(finished.path / "expected.safetensors")
    session = onnxruntime.InferenceSession(
        folder / "mnist-cnn.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"images": test["images"]})[0]
    accuracy = float((logits.argmax(1) == test["labels"]).mean())
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"**{accuracy:.2%}**" in card
    assert f"| misclassified | {round(500 * (1 - accuracy))} images |" in card


def test_the_code_on_the_card_runs(finished: Checkout) -> None:
    card = (finished.path / "models/MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    program = code + "print(logits.shape, probabilities.sum().round(3))"
    result = python(finished.path / "models", "-c", program)
    assert result.stdout.split() == ["(1,", "10)", "1.0"], result.stderr


def test_provenance_lists_what_the_model_was_made_from(finished: Checkout) -> None:
    statement = json.loads((finished.path / "models/provenance.json").read_text())
    predicate = statement["predicate"]
    definition = predicate["buildDefinition"]
    found = {
        item["name"]: next(iter(item["digest"].values()))
        for item in definition["resolvedDependencies"] + predicate["runDetails"]["byproducts"]
    }
    commit = finished.run("git", "rev-parse", "HEAD").stdout.strip()
    assert found.pop("source") == commit
    assert found.pop("weights") == finished.sha256("artifacts/weights.safetensors")
    assert found.pop("detector") == finished.sha256("artifacts/detector.safetensors")
    assert {"data/train.safetensors", "reports/gate.json"} <= set(found)
    assert found == {name: finished.sha256(name) for name in found}
    params = yaml.safe_load((finished.path / "params.yaml").read_text())
    for section in ("task", "backprop", "flow"):  # these do not affect the model
        del params[section]
    assert definition["externalParameters"]["params"] == params


def test_dvc_keeps_an_experiment_whose_model_is_worse(workspace: Workspace) -> None:
    """Otherwise DVC discards the experiment's folder, and with it hours of training."""
    answer(workspace, 20, 0)
    dag = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["release"]
    dag |= {"deps": ["artifacts/model.onnx", "reports/gate.json"], "params": ["release"]}
    (workspace.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"release": dag}}))
    environment = UNTRACKED | {"PATH": f"{Path(sys.executable).parent}:{UNTRACKED['PATH']}"}

    def run(*command: str) -> str:
        result = subprocess.run(
            command, cwd=workspace.root, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    before = everything(workspace.models)
    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("git", "add", ".")
    run("git", *AUTHOR, "commit", "--quiet", "--message", "worse")
    setting = "release.significance=0.04"
    said = run("dvc", "exp", "run", "--temp", "--name", "worse", "--set-param", setting)
    assert "would be refused" in said
    assert "worse" in run("dvc", "exp", "list", "--name-only").split()
    assert everything(workspace.models) == before


# the command


def test_the_command_fails_with_one_line_and_the_right_status(workspace: Workspace) -> None:
    """1 if the model must not be released, 2 if that cannot be decided."""
    answer(workspace, 20, 0)
    before = everything(workspace.root)
    refused = python(workspace.root, "-m", "pipeline", "release")
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert re.match("error: .*significantly better.*release.allow_regression", line)
    edit(workspace.gate_report, schema_version=None)
    unknown = python(workspace.root, "-m", "pipeline", "release")
    (line,) = unknown.stderr.splitlines()
    assert unknown.returncode == 2
    assert line.startswith("error: reports/gate.json has no schema version, ")
    workspace.gate_report.unlink()
    missing = python(workspace.root, "-m", "pipeline", "release")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: reports/gate.json is missing")
    after = everything(workspace.root)
    assert after | {"reports/gate.json": b""} == before | {"reports/gate.json": b""}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # within MLflow
def test_a_release_from_another_folder_is_champion_of_the_workspaces_store(
    workspace: Workspace, tmp_path: Path
) -> None:
    answer(workspace, 20, 0)
    set_params(workspace, allow_regression=True)
    allowed = subprocess.run(
        [sys.executable, "-m", "pipeline", "--workspace", str(workspace.root), "release"],
        cwd=tmp_path,
        env=UNTRACKED | {"MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
    )
    assert allowed.returncode == 0, allowed.stderr
    assert "allow_regression is true" in allowed.stdout
    assert sums_verify(workspace.models)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    from mlflow import MlflowClient

    client = MlflowClient(store.address(workspace.root, store.LOCAL))
    version = client.get_model_version_by_alias("mnist-cnn", "champion")
    assert version.tags["sha256"] == sha256(workspace.model) == sha256(workspace.released_model)


@pytest.mark.parametrize("place", ["link", "mount", "artifacts mounted"])
def test_models_and_artifacts_may_be_on_another_disk(
    workspace: Workspace, tmp_path: Path, place: str
) -> None:
    """Via a symbolic link or, as in a container, a mount."""
    folder = workspace.root / ("artifacts" if place == "artifacts mounted" else "models")
    elsewhere = tmp_path / "elsewhere"
    workspace.model_card.write_text("the old card")
    shutil.copytree(folder, elsewhere)
    if place == "link":
        shutil.rmtree(folder)
        folder.symlink_to(elsewhere)
    else:
        command = ["mount", "-t", "tmpfs", "none", str(folder)]
        if subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("mounting is not permitted")
        shutil.copytree(elsewhere, folder, dirs_exist_ok=True)
    try:
        release.run(workspace, load_params(workspace.params), TASK)
        assert sums_verify(workspace.models)
        assert sums_verify(elsewhere) == (place == "link")
        assert len(list(workspace.models.iterdir())) == 5
    finally:
        if place != "link":
            subprocess.run(["umount", str(folder)], check=True)


KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from pipeline.config import load_params
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.stages import release

WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "ctypes.dlsym"}

def killed_at(step):
    counter = itertools.count(1)
    started = []

    def watch(event, arguments):
        if event == "subprocess.Popen" and "track" in arguments[1]:  # the release is complete
            os.kill(os.getpid(), signal.SIGTERM)
        started.extend([event] if event == "tempfile.mkdtemp" else [])
        writes = event in WRITES and not (event == "open" and arguments[1] in ("r", "rb"))
        if started and writes and next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    workspace = Workspace(Path())
    release.run(workspace, load_params(workspace.params), TASK)

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


def test_sigkill_before_any_write_leaves_the_old_release_or_the_new_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    """SIGKILL hits one process just before its n-th write, for each n."""
    release.run(workspace, load_params(workspace.params), TASK)
    answer(workspace, 5, 0)
    edit(workspace.training_report, git_revision="another")
    shutil.copytree(workspace.models, tmp_path / "old")
    tracked = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    folders = [str(tmp_path / name) for name in ("old", "left")]
    result = python(workspace.root, "-c", KILLED, *folders, **tracked)
    assert result.returncode == 0, result.stderr
    left = sorted((tmp_path / "left").iterdir())
    old, *found = [everything(folder) for folder in (tmp_path / "old", *left)]
    new = found[-1]
    assert new["mnist-cnn.onnx"] == workspace.model.read_bytes()
    kinds = ["old" if files == old else "new" if files == new else "neither" for files in found]
    assert set(kinds) == {"old", "new"}
    assert kinds == sorted(kinds, reverse=True)  # once new, it stays
    assert kinds.count("old") >= 15  # the new files are written next to the old ones
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


@pytest.mark.parametrize("free", [0, 4, 12], ids="{} KiB free".format)
def test_a_full_disk_leaves_the_old_release(
    workspace: Workspace, tmp_path: Path, free: int
) -> None:
    """With room for no file, for the model, and for the model and its card only."""
    workspace.lock_file.write_text("of an earlier run")
    before = everything(workspace.root)
    (tmp_path / "disk").mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("a small disk requires unshare, which is not installed")
    result = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh", str(free)],
        cwd=tmp_path,
        env=UNTRACKED | {"PATH": f"{Path(sys.executable).parent}:{UNTRACKED['PATH']}"},
        capture_output=True,
        text=True,
    )
    if result.returncode == 77 or result.stderr.startswith("unshare:"):
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert re.match("error: No space left on device: .*models/", line)
    assert everything(tmp_path / "after") == before


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://user:secret@git.example/us/digits.git", "git+https://git.example/us/digits.git"),
        ("git@git.example:us/digits.git", "git+ssh://git.example/us/digits.git"),
        ("ssh://git@git.example:22/us/digits", "git+ssh://git.example:22/us/digits"),
        ("HTTPS://user:secret@git.example/digits", "git+HTTPS://git.example/digits"),
        ("git@[::1]:us/digits", "git+ssh://[::1]/us/digits"),
        ("/home/me/digits", None),
        (r"C:\us\digits", None),
        ("ext::ssh host digits", None),
        (None, None),
    ],
)
def test_provenance_names_the_repository_without_passwords_or_local_paths(
    tmp_path: Path, remote: str | None, uri: str | None
) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    if remote:
        command = ["git", "-C", str(tmp_path), "remote", "add", "origin", remote]
        subprocess.run(command, check=True)
    assert repository(tmp_path) == uri
