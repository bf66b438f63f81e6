"""The backprop stage on the command line: same params, same bytes, and no partial files."""

import csv
import hashlib
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from pipeline.backprop.network import random_weights
from pipeline.config import load_params
from pipeline.core.files import read_csv
from pipeline.core.reports import BackpropReport
from pipeline.core.workspace import Workspace
from pipeline.stages import backprop
from tests.checkout import PROJECT, UNTRACKED, kept, python, with_params

BACKPROP = Path("reports/backprop")
LOCK = Path("artifacts/workspace.lock")  # locked while the stage runs
HISTORY = BACKPROP / "history.csv"
SECTION: dict[str, Any] = {  # the original states the results for these values
    "inputs": [0.05, 0.1],
    "targets": [0.5, 0.5],
    "weights": [0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55],
    "seed": 1,
    "learning_rate": 1.0,
    "updates": 67,
    "long_run": 1200,
    "learning_rates": [0.1, 0.2, 0.5, 0.8, 1.0, 2.0],
}
SHORT: dict[str, Any] = {"updates": 1, "long_run": 1, "learning_rates": [1.0]}
COLUMNS = (
    "iteration,t1,t2,i1,i2,w1,w2,w3,w4,h1,a_h1,h2,a_h2,w5,w6,w7,w8,o1,a_o1,o2,a_o2,E1,E2,E_total,"
    "∂E/∂w1,∂E/∂w2,∂E/∂w3,∂E/∂w4,∂E/∂w5,∂E/∂w6,∂E/∂w7,∂E/∂w8"
)
# hides the dependencies of the rest of the project, which this stage must not require
WITHOUT_THE_REST = """
import runpy, sys
for name in ("torch", "torchvision", "sympy", "mlflow", "onnx", "onnxruntime", "onnxscript",
             "sklearn", "scipy", "dvc", "prefect", "openpyxl", "pandas"):
    sys.modules[name] = None
sys.argv[0] = "pipeline"
runpy.run_module("pipeline", run_name="__main__")
"""


def folder_with_params(folder: Path, **changes: Any) -> Path:
    """Write params.yaml into the folder: the original's values, with changes."""
    return with_params(folder, **SECTION | changes)


def run(folder: Path) -> None:
    """Run the stage in a folder, without MLflow."""
    workspace = Workspace(folder)
    backprop.explain(workspace, load_params(workspace.params).backprop)


def report(folder: Path) -> BackpropReport:
    return BackpropReport.read(folder / BACKPROP / "summary.json")


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, hidden or not, in a folder, except params.yaml and the lock."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path not in (folder / "params.yaml", folder / LOCK)
    }


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the figures, which take most of the stage's time."""
    monkeypatch.setattr(backprop, "save_figure", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage has run."""
    folder = folder_with_params(tmp_path_factory.mktemp("finished"))
    variables = {"PYTHONHASHSEED": "1", "TZ": "UTC"}
    result = python(folder, "-m", "pipeline", "backprop", **variables)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "0.0141814" in result.stdout
    assert "0.000196838" in result.stdout
    return folder


def test_it_writes_exactly_the_outputs_in_dvc_yaml(finished: Path) -> None:
    outs = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["backprop"]["outs"]
    assert set(digests(finished)) == {name for out in outs for name in out}


def test_a_rerun_without_the_other_libraries_gives_the_same_bytes(
    finished: Path, tmp_path: Path
) -> None:
    """Another time zone, hash seed, or flow run must not change dvc.lock."""
    folder = folder_with_params(tmp_path)
    variables = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"}
    variables |= {"PIPELINE_FLOW_RUN_ID": "0199-4a", "PIPELINE_FLOW_RUN_URL": "http://prefect/4a"}
    result = python(folder, "-c", WITHOUT_THE_REST, "backprop", **variables)
    assert result.returncode == 0, result.stderr
    assert digests(folder) == digests(finished)


def test_the_history_matches_the_original_spreadsheet(finished: Path) -> None:
    with (finished / HISTORY).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS.split(",")
    assert [row[0] for row in rows] == [str(n) for n in range(68)]
    assert f"{float(rows[-1][header.index('E_total')]):.9f}" == "0.000196838"


def test_the_summary_and_the_tables_agree_with_the_history(finished: Path) -> None:
    summary = report(finished)
    history = read_csv(finished / HISTORY)
    assert summary.params == SECTION
    assert summary.first_loss == history[0]["E_total"]
    assert summary.last_loss == history[-1]["E_total"]
    assert summary.first_gradient == [history[0][f"∂E/∂w{n}"] for n in range(1, 9)]
    losses = read_csv(finished / BACKPROP / "learning_rates.csv")
    assert [list(row.values())[5] for row in losses] == [row["E_total"] for row in history]
    scanned = read_csv(finished / BACKPROP / "learning_rate_scan.csv")
    highest = summary.highest_learning_rate_without_rise
    assert highest is not None
    assert len(scanned) == summary.learning_rates_scanned
    assert all(not row["rises"] for row in scanned if row["learning_rate"] <= highest)
    assert min(row["learning_rate"] for row in scanned if row["rises"]) > highest


def test_the_figures_open_and_contain_no_date(finished: Path) -> None:
    pictures = sorted((finished / BACKPROP).glob("*.png"))
    drawings = sorted((finished / BACKPROP).glob("*.svg"))
    assert [path.stem for path in pictures] == ["learning_rates", "loss", "network", "steps"]
    assert [path.stem for path in drawings] == ["learning_rates", "loss", "network"]
    for path in pictures:
        with Image.open(path) as picture:
            picture.load()
            assert picture.width > 1000
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
    for path in drawings:
        tags = [element.tag for element in ElementTree.parse(path).iter()]
        assert sum(tag.endswith("}path") for tag in tags) > 20
        assert not any(tag.endswith("}date") for tag in tags)
        assert not re.search(r"\b20\d\d-\d\d-\d\d", path.read_text())


def test_random_weights_follow_the_seed(no_figures: None, tmp_path: Path) -> None:
    run(folder_with_params(tmp_path, **SHORT, weights="random", seed=7))
    weights = [read_csv(tmp_path / HISTORY)[0][f"w{n}"] for n in range(1, 9)]
    assert weights == list(random_weights(7))
    params = report(tmp_path).params
    assert (params["seed"], params["weights"]) == (7, weights)


def test_an_interrupted_run_leaves_only_complete_files(finished: Path, tmp_path: Path) -> None:
    folder = folder_with_params(tmp_path)
    command = [sys.executable, "-m", "pipeline", "backprop"]
    with subprocess.Popen(
        command, cwd=folder, env=UNTRACKED, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(folder.glob(f"{BACKPROP}/.steps.png*")):  # it is being written
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + 15
    assert said == "stopped by SIGTERM\n"
    left = digests(folder)
    assert f"{BACKPROP}/steps.png" not in left
    assert left.items() < digests(finished).items()


@pytest.mark.parametrize(
    ("size", "name"), [(30_000, HISTORY), (100_000, BACKPROP / "learning_rates.png")]
)
def test_a_full_disk_is_reported_and_leaves_only_complete_files(
    size: int, name: Path, finished: Path, tmp_path: Path
) -> None:
    """A limit on the file size stands in for a full disk."""
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "backprop"],
        capture_output=True,
        text=True,
        cwd=folder_with_params(tmp_path),
        env=UNTRACKED,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert (result.returncode, result.stderr) == (2, f"error: File too large: {name}\n")
    assert digests(tmp_path).items() < digests(finished).items()


@pytest.mark.parametrize("obstacle", ["a file", "a link to nowhere"])
@pytest.mark.parametrize("name", ["artifacts", "reports"])
def test_an_output_folder_that_cannot_be_created_is_a_one_line_error(
    name: str, obstacle: str, tmp_path: Path
) -> None:
    place = folder_with_params(tmp_path) / name
    if obstacle == "a file":
        place.write_text("mine")
    else:
        place.symlink_to("nowhere")
    result = python(tmp_path, "-m", "pipeline", "backprop")
    assert result.returncode == 2
    assert re.fullmatch(rf"error: [^\n]*{name}[^\n]*\n", result.stderr)
    assert digests(tmp_path).keys() == ({name} if obstacle == "a file" else set())


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 100.0, "learning_rates": [100.0], "long_run": 67},
        {"inputs": [0, 0], "targets": [0, 1], "learning_rate": 1e-6, "long_run": 67},
        {"inputs": [10, -10], "weights": [10] * 4 + [-10] * 4, "updates": 2, "long_run": 2},
        {"weights": [0] * 8, "updates": 2, "long_run": 2},  # the loss is already 0
    ],
    ids=["fast", "slow without input", "saturated", "solved"],
)
@pytest.mark.filterwarnings("error")
def test_the_stage_handles_extreme_but_valid_params(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    run(folder_with_params(tmp_path, **changes))
    rows = read_csv(tmp_path / HISTORY)
    assert len(rows) == changes.get("updates", SECTION["updates"]) + 1
    assert all(0 <= row["E_total"] <= 1 for row in rows)
    assert len(digests(tmp_path)) == 12


def test_nearly_equal_learning_rates_get_separate_columns(no_figures: None, tmp_path: Path) -> None:
    run(folder_with_params(tmp_path, **SHORT | {"learning_rates": [1.0, 1.0000001]}))
    assert len(read_csv(tmp_path / BACKPROP / "learning_rates.csv")[0]) == 3


def test_the_reports_in_git_match_the_params_in_git(no_figures: None, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(kept("params.yaml"))
    run(tmp_path)
    for name in ("history.csv", "learning_rates.csv", "learning_rate_scan.csv"):
        path = BACKPROP / name
        (tmp_path / "kept.csv").write_text(kept(str(path)))
        rows = read_csv(tmp_path / path)
        for row, expected in zip(read_csv(tmp_path / "kept.csv"), rows, strict=True):
            assert row == pytest.approx(expected, rel=1e-6, abs=1e-20)  # on another processor
