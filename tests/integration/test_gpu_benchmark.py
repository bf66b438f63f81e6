"""The GPU check runs in an environment with little more than torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.gpu import check, jobs
from benchmarks.gpu.pack import changed_code, pack, read_packed
from pipeline.core.files import read_json
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT
from tests.digits import write_mirror

# Python imports this file at start-up; it hides every package except torch, its requirements,
# NumPy and safetensors
BARE = """
import importlib.metadata, re, sys
from importlib.machinery import PathFinder
needed = [re.match(r"[\\w-]+", line)[0] for line in importlib.metadata.requires("torch")]
known = {"torch", "torchgen", "functorch", "numpy", "safetensors", "pipeline", "benchmarks"}
known |= {name.lower().replace("-", "_") for name in needed} | {"mpmath", "markupsafe"}
known |= sys.stdlib_module_names
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in known or name.startswith("_"):
            return PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder] + [Bare()]
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of 200 digits, packed in the project's environment."""
    workspace = Workspace(tmp_path_factory.mktemp("gpu"))
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["fetch"]["files"] = write_mirror(workspace.raw, 150, 50)
    params["train"] |= {"batch_size": 50}
    workspace.params.write_text(yaml.safe_dump(params))
    (workspace.root / "params.fast.yaml").write_text("train: {epochs: 9}\n")
    pack(workspace, workspace.root / check.PACKED)
    return workspace


def test_it_trains_and_reports_with_little_more_than_torch(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    command = ["-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--output", "out"]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    check_run = subprocess.run(
        [sys.executable, *command],
        cwd=workspace.root,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert check_run.returncode == 0, check_run.stdout + check_run.stderr
    with pytest.raises(subprocess.CalledProcessError):  # tqdm is indeed hidden
        subprocess.run(
            [sys.executable, "-c", "import tqdm"],
            env=variables,
            check=True,
            capture_output=True,
        )
    report = read_json(workspace.root / "out/gpu.json")
    eager, graph, killed, resumed, release, seeds = report["trainings"]
    weights = [row["weights_sha256"] for row in eager["runs"][0]["epochs"]]
    assert len(weights) == 2
    assert graph["skipped"]
    assert [row["epoch"] for row in killed["runs"][0]["epochs"]] == [1]
    assert "test_accuracy" not in killed["runs"][0]
    (run,) = resumed["runs"]
    assert run["after_epoch"] == 1
    assert [row["weights_sha256"] for row in run["epochs"]] == weights[1:]
    assert [run["seed"] for run in seeds["runs"]] == [1, 2]
    assert [row["weights_sha256"] for row in seeds["runs"][0]["epochs"]] == weights
    assert [row["weights_sha256"] for row in seeds["runs"][1]["epochs"]] != weights
    assert [(row["name"], row["same"]) for row in report["same_bits"]] == [
        ("resumed", True),
        ("seeds", True),
    ]
    assert (release["recipe"], release["precision"]) == ("release", "float32")
    assert 0 <= release["runs"][0]["test_accuracy"] <= 1
    assert release["test_images"] == 50
    assert 0 < release["float32_error"] < 1e-5
    assert release["setup_seconds"] > 0
    assert eager["inference_rates"].keys() == {"float32", "bfloat16"}
    assert report["code_changed"] == []
    assert report["machine"]["gpu"] is None
    text = (workspace.root / "out/gpu.md").read_text()
    assert "not on a CPU" in text
    assert "yes, in 1 epochs" in text
    assert "2 of 2" in text
    assert "killed (SIGKILL) after batch 1 of epoch 2 and resumed after epoch 1." in text
    assert f" {release['runs'][0]['test_accuracy']:.2%} |" in text
    assert text.strip() in check_run.stdout


def test_a_failed_training_is_reported_and_the_others_continue(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = workspace.root / check.PACKED
    assert changed_code(read_packed(packed)["code_sha256"]) == []
    broken = check.Training("fast", "eager", changes={"device": "cuda:77"})
    whole = check.Training("fast", "again", changes={"epochs": 1})
    monkeypatch.setattr(check, "QUICK_PLAN", [broken, whole])
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    assert not check.check("cpu", packed, tmp_path, 200, quick=True)
    first, again = read_json(tmp_path / "gpu.json")["trainings"]
    assert "cuda:77" in first["error"]
    assert again["error"] is None
    assert len(again["runs"][0]["epochs"]) == 1
    assert "fast, eager: ValueError: device 'cuda:77'" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("seeds", "failed"), [((1, 2), False), ((), True)], ids=["several seeds", "one"]
)
def test_the_time_limit_keeps_the_seeds_that_have_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...], failed: bool
) -> None:
    """The stand-in for the worker finishes one of two seeds."""
    events = [
        '{"event": "start"}',
        '{"event": "run", "seed": 1}',
        '{"event": "end", "test_accuracy": 0.99}',
        '{"event": "run", "seed": 2}',
    ]
    worker = tmp_path / "worker"
    lines = [f"echo '{event}'" for event in events]
    worker.write_text("\n".join(["#!/bin/sh", *lines, "exec sleep 60"]))
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    monkeypatch.setattr(jobs, "START", 0)
    result = jobs.train(jobs.Job("packed", "fast", seeds=seeds), 1)
    assert bool(result["error"]) is failed
    assert ["test_accuracy" in run for run in result["runs"]] == [True, False]
