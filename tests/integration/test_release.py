"""Releases by the DAG and by the command: killed, on full disks, via links, in experiments."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import onnxruntime
import pytest
import yaml
from safetensors.numpy import load_file

from pipeline.config import load_params
from pipeline.core.files import sha256
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.registry import acts
from pipeline.registry.folder import verify_checksums
from pipeline.registry.provenance import repository
from pipeline.registry.releases import Releases
from pipeline.stages import release
from pipeline.tracking import store
from tests.checkout import PROJECT, UNTRACKED, Checkout, python
from tests.folders import everything
from tests.releases import answer, make_release, make_workspace, pass_gate, stub
from tests.reports import edit
from tests.servers import wait_until

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An untracked workspace whose model has passed the gate."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    return make_workspace(tmp_path / "project")


def sums_verify(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


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
    for section in ("task", "backprop", "flow", "loop"):  # these do not affect the model
        del params[section]
    assert definition["externalParameters"]["params"] == params


def under_dvc(workspace: Workspace, store: str = "none") -> Callable[..., str]:
    """Make a DVC repository with only the stage `release`; returns a function to run commands."""
    dag = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["release"]
    dag |= {"deps": ["artifacts/model.onnx", "reports/gate.json"], "params": ["release"]}
    (workspace.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"release": dag}}))
    path = f"{Path(sys.executable).parent}:{UNTRACKED['PATH']}"
    environment = UNTRACKED | {"PATH": path, "MLFLOW_TRACKING_URI": store}

    def run(*command: str) -> str:
        result = subprocess.run(
            command, cwd=workspace.root, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    return run


def test_dvc_keeps_an_experiment_whose_model_is_inferior(workspace: Workspace) -> None:
    """Otherwise DVC discards the experiment's folder, and with it hours of training.

    MLflow shows its run in the store of the clone, not in one in the folder that DVC deletes.
    """
    answer(workspace, 20, 0)
    run = under_dvc(workspace, store="sqlite:///mlflow.db")
    before = everything(workspace.models)
    run("git", "add", ".")
    run("git", *AUTHOR, "commit", "--quiet", "--message", "inferior")
    setting = "release.looks=19"
    run("dvc", "exp", "run", "--temp", "--name", "inferior", "--set-param", setting)
    assert "inferior" in run("dvc", "exp", "list", "--name-only").split()
    with closing(sqlite3.connect(workspace.root / "mlflow.db")) as found:
        names = found.execute("SELECT value FROM tags WHERE key = 'dvc.experiment'").fetchall()
        assert names == [("inferior",)]
        assert found.execute("SELECT count(*) FROM model_versions").fetchall() == [(0,)]
    assert everything(workspace.models) == before


def test_a_rollback_is_respected_by_dvc_repro(workspace: Workspace) -> None:
    """It makes no stage stale, and the model of a forced or a later release stays in the wings."""
    run = under_dvc(workspace)
    run("dvc", "repro", "--quiet")
    first = sha256(workspace.released_model)
    stub(workspace.model, column=2)
    pass_gate(workspace)
    run("dvc", "repro", "--quiet")
    assert sha256(workspace.released_model) == sha256(workspace.model) != first
    run(sys.executable, "-m", "pipeline", "rollback", "--reason", "it is wrong on photographs")
    assert sha256(workspace.released_model) == first
    assert run("dvc", "status").strip() == "Data and pipelines are up to date."
    for options in ([], ["--force"]):
        run("dvc", "repro", "--quiet", *options)
        assert sha256(workspace.released_model) == first
    stub(workspace.model, column=3)
    pass_gate(workspace)
    run("dvc", "repro", "--quiet")
    assert sha256(workspace.released_model) == first
    run(sys.executable, "-m", "pipeline", "promote", "3", "--reason", "mended")
    assert sha256(workspace.released_model) == sha256(workspace.model)
    assert sums_verify(workspace.models)


# the command


def test_the_command_fails_with_one_line_and_the_right_status(workspace: Workspace) -> None:
    """1 if the model must not be released, 2 if that cannot be decided."""
    answer(workspace, 20, 0)
    model = sha256(workspace.released_model)
    refused = python(workspace.root, "-m", "pipeline", "release")
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert line.startswith("error: ")
    edit(workspace.gate_report, schema_version=None)
    unknown = python(workspace.root, "-m", "pipeline", "release")
    (line,) = unknown.stderr.splitlines()
    assert unknown.returncode == 2
    assert line.startswith("error: reports/gate.json has no schema version, ")
    workspace.gate_report.unlink()
    missing = python(workspace.root, "-m", "pipeline", "release")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: reports/gate.json is missing")
    assert sha256(workspace.released_model) == model
    nothing = python(workspace.root, "-m", "pipeline", "rollback")
    assert nothing.returncode == 2
    assert len(nothing.stderr.splitlines()) == 1


def test_the_table_shows_what_is_in_use(workspace: Workspace) -> None:
    for column in (0, 1):
        make_release(workspace, column)
    acts.rollback(workspace)
    make_release(workspace, 2, promoted=False)
    shown = python(workspace.root, "-m", "pipeline", "releases")
    assert shown.returncode == 0, shown.stderr
    held, previous, champion = shown.stdout.splitlines()[2:]
    assert held.split()[:2] == ["3", "held"]
    assert previous.split()[:2] == ["2", "previous"]
    assert champion.split()[:3] == ["1", "champion,", "best"]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # within MLflow
def test_a_release_from_another_folder_is_champion_of_the_workspaces_store(
    workspace: Workspace, tmp_path: Path
) -> None:
    def run(*arguments: str) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "pipeline", "--workspace", str(workspace.root), *arguments],
            cwd=tmp_path,
            env=UNTRACKED | {"MLFLOW_TRACKING_URI": ""},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr

    def champion() -> str:
        client = MlflowClient(store.address(workspace.root, store.LOCAL))
        version = client.get_model_version_by_alias("mnist-cnn", "champion")
        return str(version.tags["sha256"])

    run("release")
    assert sums_verify(workspace.models)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    from mlflow import MlflowClient

    first = sha256(workspace.model)
    assert champion() == first == sha256(workspace.released_model)
    stub(workspace.model, column=2)
    pass_gate(workspace)
    run("release")
    assert champion() == sha256(workspace.model)
    run("rollback")  # MLflow follows in the background
    wait_until(lambda: champion() == first)


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
        assert [*Releases.of(workspace).all] == [1]
    finally:
        if place != "link":
            subprocess.run(["umount", str(folder)], check=True)


KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from pipeline.core.workspace import Workspace
from pipeline.registry import acts

WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
def release():  # a third one, with the model of the second
    with acts.new_folder(workspace) as folder:
        for file in Path("models/releases/2").iterdir():
            shutil.copy(file, folder)
        (folder / "SHA256SUMS").unlink()
        (folder / "MODEL_CARD.md").write_text("the third")
        acts.seal(folder)
        acts.register(workspace, folder, "not inferior")
    acts.promote(workspace, 3, "test")

ACTS = {
    "release": release,
    "promote": lambda: acts.promote(workspace, 2, "test"),
    "rollback": lambda: acts.rollback(workspace, 2, "test"),
}
workspace = Workspace(Path())

def killed_at(step):
    counter = itertools.count(1)

    def watch(event, arguments):
        writes = event in WRITES and not (event == "open" and arguments[1] in ("r", "rb"))
        if writes and "models" in str(arguments[0]) and next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    ACTS[sys.argv[1]]()

for step in itertools.count(1, int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        killed_at(step)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    shutil.copytree("models", Path("left", f"{step:03}"))
    if os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(os.WEXITSTATUS(status) != 3)
    shutil.rmtree("models")
    shutil.copytree("old", "models")
"""


@pytest.mark.parametrize(("act", "stride"), [("release", 3), ("promote", 1), ("rollback", 1)])
def test_sigkill_before_any_write_leaves_one_whole_champion(
    act: str, stride: int, tmp_path: Path
) -> None:
    """SIGKILL hits one process just before its n-th write, for each n; the next act repairs.

    A release writes much more, so every third n must do.
    """
    workspace = Workspace(tmp_path)
    make_release(workspace, 0)
    make_release(workspace, 1, promoted=False)
    if act == "rollback":
        make_release(workspace, 2)
    shutil.copytree(workspace.models, tmp_path / "old")
    old = Releases.of(workspace).champion()
    result = python(tmp_path, "-c", KILLED, act, str(stride))
    assert result.returncode == 0, result.stderr
    found = []
    for left in sorted((tmp_path / "left").iterdir()):
        killed = Workspace(tmp_path / "killed" / left.name)
        killed.root.mkdir(parents=True)
        left.rename(killed.models)
        before = Releases.of(killed).champion()  # one whole release, before any repair
        assert before is not None
        verify_checksums(before.folder)
        assert sha256(killed.released_model) in {
            release.sha256 for release in Releases.of(killed).all.values()
        }
        acts.complete(killed)
        champion = Releases.of(killed).champion()
        assert champion is not None
        assert sha256(killed.released_model) == champion.sha256
        assert sums_verify(killed.models)
        assert champion.number == Releases.of(killed).moves[-1].release
        found.append(champion.number)
    assert old is not None
    assert found[0] == old.number
    assert found[-1] != old.number
    assert len(set(found)) == 2
    assert found == sorted(found, reverse=act == "rollback")  # once new, it stays
    assert len(found) > 10


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
    after = everything(tmp_path / "after")
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".onnx") and name not in before]


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
