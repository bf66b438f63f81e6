"""The benchmarks run, and their reports say what was measured; how fast it was is not tested."""

import re
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from benchmarks import growth, serving
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.core.paths import RELEASED_MODEL
from tests.workspace import PROJECT, TRAINING, Workspace, python

REPORTS = Path("reports/benchmarks")
MIB = 2**20


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with data and a released model, whose DAG has but one stage."""
    workspace = Workspace(tmp_path_factory.mktemp("benchmarks") / "project")
    shutil.copytree(PROJECT / "benchmarks", workspace.path / "benchmarks")
    (workspace.path / "models").mkdir()
    shutil.copy(PROJECT / RELEASED_MODEL, workspace.path / RELEASED_MODEL)
    dag = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    one = {"stages": {"fetch": dag["stages"]["fetch"]}}
    (workspace.path / "dvc.yaml").write_text(yaml.safe_dump(one))
    for stage in ("fetch", "prepare"):
        workspace.pipeline(stage).check_returncode()
    return workspace


def test_the_cost_of_each_tool_is_told_by_stage_and_package(workspace: Workspace) -> None:
    arguments = ["--rounds", "1", "--flow-rounds", "0"]
    run = workspace.run(sys.executable, "-m", "benchmarks.pipeline", *arguments)
    assert run.returncode == 0, run.stderr
    report = read_json(workspace.path / REPORTS / "pipeline.json")
    runs = {way: those[0] for way, those in report["runs"].items()}
    assert set(runs) == {"work", "imports", "processes", "DVC", "MLflow", "again", "track"}
    for way in runs.keys() - {"imports", "track"}:  # they have no seconds by stage
        assert list(runs[way]["stages"]) == ["fetch"], way
        assert 0 < runs[way]["stages"]["fetch"] <= runs[way]["total"]
    packages = runs["processes"]["imports"]["fetch"]
    assert 0 < packages["requests"] < sum(packages.values()) < runs["processes"]["stages"]["fetch"]
    assert "torch" not in packages
    assert runs["track"]["imports"]["track"]["mlflow"] > 0
    assert list(report["up_to_date_seconds"]) == ["`dvc repro`"]
    told = (workspace.path / REPORTS / "pipeline.md").read_text()
    assert re.search(rf"\| MLflow +\| +{runs['MLflow']['total']:.1f} ", told)
    assert "`gate.min_accuracy=0.0`" in told


def test_growth_fits_the_lines_that_the_measurements_lie_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def footprint(folder: Path, kind: str, images: int, *options: str) -> dict[str, float]:
        epochs = int(options[-1]) if "--epochs" in options else 1
        per_image = {"train": 784, "prepare": 1568, "infer": 864}[kind]
        return {"seconds": 2 + images * epochs / 5000, "peak_bytes": 100 * MIB + images * per_image}

    monkeypatch.chdir(workspace.path)
    monkeypatch.setattr(growth, "footprint", footprint)
    growth.main([500, 1000, 2000], [1, 2], [1, 2], rounds=1)
    report = read_json(REPORTS / "growth.json")
    lines = {name: (line["slope"], line["start"]) for name, line in report["lines"].items()}
    assert lines == {
        "seconds_by_images": pytest.approx((1 / 5000, 2)),
        "seconds_by_epochs": pytest.approx((1000 / 5000, 2)),
        "prepare_bytes_by_images": pytest.approx((1568, 100 * MIB)),
        "train_bytes_by_images": pytest.approx((784, 100 * MIB)),
        "infer_bytes_by_images": pytest.approx((864, 100 * MIB)),
    }
    assert report["peak_bytes_by_images"]["train"] == [
        [n, 100 * MIB + 784 * n] for n in (2 * TRAINING, TRAINING)
    ]
    told = (REPORTS / "growth.md").read_text()
    assert "0.20 s for every 1,000 images" in told
    assert re.search(r"\| prepare +\| +1,568 \| +100 \|", told)
    with Image.open(REPORTS / "growth.png") as figure:
        assert min(figure.size) > 300


def test_more_images_than_there_are_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.path)
    with pytest.raises(UserError, match="2,000"):
        growth.main([500, 5000], [1], [1], rounds=1)


@pytest.mark.parametrize("name", ["growth", "pipeline"])
def test_what_is_missing_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    result = python(tmp_path, "-m", f"benchmarks.{name}", "--rounds", "1")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["prepare", "train", "infer"])
def test_memory_is_that_of_the_work(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    shutil.copytree(workspace.path / "data", tmp_path / "data")
    shutil.copytree(workspace.path / "models", tmp_path / "models")
    shutil.copy(workspace.path / "params.yaml", tmp_path)
    options = ["--batches", "2"] if kind == "train" else []
    measured: dict[str, Any] = growth.footprint(tmp_path, kind, TRAINING, *options)
    assert measured["seconds"] > 0
    assert measured["peak_bytes"] > (200 * MIB if kind == "train" else 30 * MIB)


def test_scoring_is_measured_beside_a_plain_loop(workspace: Workspace) -> None:
    arguments = ["--images", "3000", "--files", "50", "--rounds", "1"]
    run = workspace.run(sys.executable, "-m", "benchmarks.scoring", *arguments)
    assert run.returncode == 0, run.stderr
    report = read_json(workspace.path / REPORTS / "scoring.json")
    assert report["images"] == {
        "score, array": 3000,
        "plain loop, array": 3000,
        "score, PNG files": 50,
    }
    assert report["same_digits"] == 3000
    for (measured,) in report["runs"].values():
        assert 0.2 < measured["seconds"] < 300
        assert 20 * MIB < measured["peak_bytes"] < 1000 * MIB
    assert list((workspace.path / "data").glob("tmp*")) == []
    told = (workspace.path / REPORTS / "scoring.md").read_text()
    assert re.search(r"\| score, array +\| +3,000 ", told)


needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="`make debian` installs it")


@needs_wrk
def test_the_service_is_measured_beside_mlflows(workspace: Workspace) -> None:
    arguments = ["--seconds", "1", "--rounds", "1", "--soak", "5"]
    run = workspace.run(sys.executable, "-m", "benchmarks.serving", *arguments)
    assert run.returncode == 0, run.stderr
    report = read_json(workspace.path / REPORTS / "serving.json")
    assert list(report["loads"]) == ["ours, bytes", "ours, JSON", "ours, PNG", "MLflow, JSON"]
    for by_connections in report["loads"].values():
        assert list(by_connections) == ["1", "16", "64", "256"]
        for (load,) in by_connections.values():
            assert load["requests"] > 0
            assert 0 < load["p50"] <= load["p99"] < 30
            assert load["failed"] == 0
    assert len(report["soak"]["resident_bytes"]) >= 4
    assert report["soak"]["load"]["failed"] == 0
    assert list(report["model_seconds"]) == ["1", "32"]
    assert all(0 < seconds < 0.1 for seconds in report["model_seconds"].values())
    told = (workspace.path / REPORTS / "serving.md").read_text()
    assert re.search(r"\| ours, PNG +\| +64 ", told)
    assert (workspace.path / REPORTS / "serving.png").stat().st_size > 10_000


@needs_wrk
def test_what_a_server_refuses_is_counted() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as files:
        threading.Thread(target=files.serve_forever).start()
        url = f"http://127.0.0.1:{files.server_port}/"  # where nothing can be posted
        found = serving.load(serving.Way(url, {}, b"no request"), connections=2, seconds=1)
        files.shutdown()
    assert found["failed"] >= found["requests"] > 0


def test_without_wrk_it_says_what_to_install(workspace: Workspace) -> None:
    environment = workspace.environment | {"PATH": ""}
    run = workspace.run(sys.executable, "-m", "benchmarks.serving", env=environment)
    assert run.returncode == 1
    assert "wrk is missing: apt-get install wrk" in run.stderr


def test_memory_that_grows_is_told() -> None:
    assert serving.growth([50, 90, *[100] * 8]) == pytest.approx(0)
    assert serving.growth([100 + 3 * second for second in range(300)]) == pytest.approx(3 * 180)
