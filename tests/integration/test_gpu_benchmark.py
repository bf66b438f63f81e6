"""The check of GPUs runs where there is little but torch, and its report tells the truth."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import gpu, gpu_report
from pipeline.core.errors import UserError
from tests.digits import write_mirror
from tests.workspace import PROJECT

# imported by every Python process with this folder on its path: only torch and what it needs is
# there, NumPy and safetensors
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
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 200 digits, packed in the environment of the project."""
    folder = tmp_path_factory.mktemp("gpu")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["fetch"]["files"] = write_mirror(folder / "data/raw", 150, 50)
    params["train"] |= {"batch_size": 50}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "params.fast.yaml").write_text("train: {epochs: 9}\n")
    (folder / "pipeline").symlink_to(PROJECT / "pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        gpu.pack(gpu.PACKED)
    return folder


def test_it_trains_and_reports_where_there_is_little_but_torch(
    packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    command = ["-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--output", "out"]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    run = subprocess.run(
        [sys.executable, *command],
        cwd=packed,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with pytest.raises(subprocess.CalledProcessError):  # as bare as it is meant to be
        subprocess.run(
            [sys.executable, "-c", "import tqdm"],
            env=variables,
            check=True,
            capture_output=True,
        )
    report = json.loads((packed / "out/gpu.json").read_text())
    first, killed, resumed, release = report["trainings"]
    assert [row["epoch"] for row in first["epochs"]] == [1, 2]
    assert [row["epoch"] for row in killed["epochs"]] == [1]
    assert "test_accuracy" not in killed
    assert resumed["after_epoch"] == 1
    assert resumed["epochs"][0]["weights_sha256"] == first["epochs"][1]["weights_sha256"]
    assert report["same_bits"]["fast"]["resumed"]["same"] is True
    assert report["same_bits"]["fast"]["again"]["same"] is None
    assert (release["recipe"], release["precision"]) == ("release", "float32")
    assert 0 <= release["test_accuracy"] <= 1
    assert release["test_images"] == 50
    assert 0 < release["float32_error"] < 1e-5
    assert report["code_changed"] == []
    assert report["machine"]["gpu"] is None
    told = (packed / "out/gpu.md").read_text()
    assert "| fast, killed and resumed | yes, in 1 epochs |" in told
    assert "killed (SIGKILL) after batch 2 of epoch 2 and resumed after epoch 1." in told
    assert f"| {release['test_accuracy']:.2%} |" in told
    assert told.strip() in run.stdout


@pytest.fixture
def folder(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(packed)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    return packed


def test_a_failure_is_reported_and_the_others_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = gpu.Training("fast", "first", {"device": "cuda:77"})
    monkeypatch.setattr(gpu, "QUICK_PLAN", [broken, gpu.Training("fast", "again", {"epochs": 1})])
    assert not gpu.main("cpu", gpu.PACKED, tmp_path, 200, quick=True)
    first, again = json.loads((tmp_path / "gpu.json").read_text())["trainings"]
    assert "cuda:77" in first["error"]
    assert again["error"] is None
    assert len(again["epochs"]) == 1
    assert "fast, first: ValueError: device 'cuda:77'" in (tmp_path / "gpu.md").read_text()


def test_without_time_nothing_is_started(folder: Path, tmp_path: Path) -> None:
    assert not gpu.main("cpu", gpu.PACKED, tmp_path, 1, quick=False)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {each["error"] for each in report["trainings"]} == {"no time left"}
    assert "No training began." in (tmp_path / "gpu.md").read_text()


def test_an_operator_that_is_not_deterministic_is_told_and_training_measured_all_the_same(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def train(job: gpu.Job, seconds: float) -> dict[str, Any]:
        asked.append(job.only_warn)
        refused = None if job.only_warn else "RuntimeError: no deterministic implementation"
        return {"error": refused, "epochs": [], "warnings": []}

    monkeypatch.setattr(gpu, "train", train)
    gpu.main("cpu", gpu.PACKED, tmp_path, 200, quick=True)
    assert asked == [False, True, True, True, True]
    assert "Warning: RuntimeError: no deterministic" in (tmp_path / "gpu.md").read_text()


def test_other_bits_are_told_with_the_epoch() -> None:
    def training(name: str, *digests: str, after: int = 0) -> dict[str, Any]:
        numbered = enumerate(digests, start=after + 1)
        rows = [{"epoch": number, "weights_sha256": digest} for number, digest in numbered]
        return {"recipe": "fast", "name": name, "epochs": rows}

    trainings = [training("first", "a", "b", "c"), training("again", "a", "x", "y")]
    trainings += [training("killed", "a", "z"), training("resumed", "c", after=2)]
    found = gpu.same_bits(trainings)["fast"]
    assert found["again"] == {"same": False, "epochs_compared": 3, "differs_in": 2}
    assert found["resumed"] == {"same": True, "epochs_compared": 1, "differs_in": None}
    assert "| **no**, from epoch 2 on |" in gpu_report.bits_table({"fast": found})


def test_speed_is_told_with_and_without_the_first_epoch() -> None:
    rows = [{"seconds": seconds} for seconds in (5.0, 1.0, 3.0)]
    training = {"recipe": "fast", "name": "first", "precision": "bfloat16", "images": 1000}
    training |= {"epochs": rows, "planned_epochs": 9, "process_seconds": 20.0}
    table = gpu_report.speed_table([training | {"test_accuracy": 0.994}], gate=0.994)
    assert "| 3 of 9 | 9.0 | 20.0 | 333 | 500 | 5.00 | 2.00 | 99.40% | yes |" in table


def test_files_or_code_that_changed_are_told(folder: Path) -> None:
    content = gpu.read_packed(gpu.PACKED)
    assert gpu.changed_code(content["code_sha256"]) == []
    assert gpu.changed_code({"pipeline/mnist/network.py": "0"}) == ["pipeline/mnist/network.py"]
    with pytest.raises(UserError, match="--pack"):
        gpu.read_packed(Path("elsewhere"))
