"""The benchmarks run and report what they measured. The speed itself is not tested."""

import re
import shutil
import sys
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.memory import measure
from benchmarks.pipeline import scaling
from benchmarks.service import journal, shadow, wrk
from benchmarks.service.request import Request
from pipeline.core import workspace
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from tests.checkout import MODEL, PROJECT, TRAINING, Checkout, needs_model

REPORTS = Path("reports/benchmarks")
MIB = 2**20


@pytest.fixture(scope="module")
def project(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A finished project, its DAG reduced to one stage."""
    project = finished.copy(tmp_path_factory.mktemp("benchmarks") / "project")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "benchmarks", project.path / "benchmarks", ignore=ignored)
    dag = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    one = {"stages": {"fetch": dag["stages"]["fetch"]}}
    (project.path / "dvc.yaml").write_text(yaml.safe_dump(one))
    return project


def benchmark(project: Checkout, name: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark; return its JSON report and its Markdown report."""
    run = project.run(sys.executable, "-m", "benchmarks", name, *arguments)
    assert run.returncode == 0, run.stderr
    reports = project.path / REPORTS
    return read_json(reports / f"{name}.json"), (reports / f"{name}.md").read_text()


def test_the_overhead_of_each_tool_is_measured_by_stage_and_package(project: Checkout) -> None:
    report, text = benchmark(project, "overhead", "--rounds", "1", "--flow-rounds", "0")
    runs = {way: those[0] for way, those in report["runs"].items()}
    assert set(runs) == {"stages", "imports", "processes", "DVC", "MLflow", "again", "track"}
    for way in runs.keys() - {"imports", "track"}:  # not timed by stage
        assert list(runs[way]["stages"]) == ["fetch"], way
        assert 0 < runs[way]["stages"]["fetch"] <= runs[way]["total"]
    packages = runs["processes"]["imports"]["fetch"]
    assert 0 < packages["requests"] < sum(packages.values()) < runs["processes"]["stages"]["fetch"]
    assert "torch" not in packages
    assert runs["track"]["imports"]["track"]["mlflow"] > 0
    assert list(report["up_to_date_seconds"]) == ["`dvc repro`"]
    assert re.search(rf"\| MLflow +\| +{runs['MLflow']['total']:.1f} ", text)
    assert "`gate.min_accuracy=0.0`" in text


@pytest.mark.parametrize("kind", ["prepare", "train", "infer"])
def test_time_and_memory_of_a_command_are_measured(
    project: Checkout, tmp_path: Path, kind: str
) -> None:
    for name in ("data", "models", "params.yaml"):
        copy = shutil.copytree if (project.path / name).is_dir() else shutil.copy
        copy(project.path / name, tmp_path / name)
    options = ["--batches", "2"] if kind == "train" else []
    cost = scaling.cost_of(workspace.Workspace(tmp_path), kind, TRAINING, *options)
    assert 0 < float(cost.output.splitlines()[-1]) < cost.seconds
    assert cost.peak_bytes > (200 * MIB if kind == "train" else 30 * MIB)


def test_a_failed_command_is_reported_with_its_error() -> None:
    with pytest.raises(UserError, match=r"import none.*failed:\n(.*\n)*ModuleNotFoundError"):
        measure([sys.executable, "-c", "import none"])


def test_scoring_is_compared_to_a_plain_loop(project: Checkout) -> None:
    arguments = ["--images", "3000", "--files", "50", "--rounds", "1"]
    report, text = benchmark(project, "scoring", *arguments)
    assert report["images"] == {
        "score, array": 3000,
        "plain loop, array": 3000,
        "score, PNG files": 50,
    }
    assert report["same_answers"] == 3000
    for (cost,) in report["runs"].values():
        assert 0.2 < cost["seconds"] < 300
        assert 20 * MIB < cost["peak_bytes"] < 1000 * MIB
    assert list((project.path / "data").glob("tmp*")) == []
    assert re.search(r"\| score, array +\| +3,000 ", text)


needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@needs_wrk
def test_the_service_is_compared_to_other_servers(project: Checkout) -> None:
    arguments = ["--connections", "1", "64", "--seconds", "1", "--rounds", "1", "--soak", "2"]
    report, text = benchmark(project, "serving", *arguments)
    ours = ["ours, bytes", "ours, JSON", "ours, PNG"]
    others = ["MLflow, JSON", "MLflow per core, JSON", "LitServe, JSON"]
    assert list(report["loads"]) == [*ours, *others]
    for by_connections in report["loads"].values():
        assert list(by_connections) == ["1", "64"]
        for (found,) in by_connections.values():
            assert found["requests"] > 0
            assert 0 < found["p50"] <= found["p99"] < 30
            assert found["failed"] == 0
    assert len(report["soak"]["resident_bytes"]) >= 2
    assert report["soak"]["load"]["failed"] == 0
    assert list(report["model_seconds"]) == ["1", "32"]
    assert all(0 < seconds < 0.1 for seconds in report["model_seconds"].values())
    assert re.search(r"\| ours, PNG +\| +64 ", text)
    assert (project.path / REPORTS / "serving.png").stat().st_size > 10_000


@needs_wrk
@needs_model
def test_a_service_with_a_challenger_is_compared_to_one_without(tmp_path: Path) -> None:
    shutil.copytree(MODEL.parent, tmp_path / "models")
    shadow.main(workspace.Workspace(tmp_path), [4], 1, 1, ["normal", "hanging"])
    report = read_json(tmp_path / REPORTS / "shadow.json")
    for by_connections in report["loads"].values():
        (found,) = by_connections["4"]
        assert found["requests"] > 0
        assert found["failed"] == 0
    assert report["ratios"].keys() == {"none, again", "normal", "hanging"}
    counts = report["counts"]
    assert counts["normal"]["challenger_requests_total"] > 0
    assert counts["hanging"]["challenger_dropped_total"] > 0


@needs_wrk
@needs_model
def test_a_service_with_a_journal_is_compared_to_one_without(tmp_path: Path) -> None:
    shutil.copytree(MODEL.parent, tmp_path / "models")
    journal.main(workspace.Workspace(tmp_path), [4], 1, 1)
    report = read_json(tmp_path / REPORTS / "journal.json")
    assert report["ratios"].keys() == {"none, again", "journal"}
    (found,) = report["loads"]["journal"]["4"]
    assert found["failed"] == 0
    assert report["entries"]["written"] >= found["requests"]


@needs_wrk
def test_refused_requests_are_counted() -> None:
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as files:
        threading.Thread(target=files.serve_forever).start()
        url = f"http://127.0.0.1:{files.server_port}/"  # it refuses POST
        found = wrk.load(Request(url, {}, b"no request"), connections=2, seconds=1)
        files.shutdown()
    assert found["failed"] >= found["requests"] > 0
