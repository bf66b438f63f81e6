"""The report of the GPU check matches what happened."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import check, jobs, report
from benchmarks.gpu.pack import changed_code, read_packed
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, write_json


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The part of a packed folder that the check reads."""
    content = {"git_revision": "unknown", "code_sha256": {}, "gate": 0.994}
    write_json(tmp_path / "recipes.json", content)
    return tmp_path


def training(name: str, *digests: str, after: int = 0, **values: Any) -> dict[str, Any]:
    """The result of a training of `fast` with seed 3."""
    rows = [
        {"epoch": number, "weights_sha256": digest, "seconds": 1.0}
        for number, digest in enumerate(digests, start=after + 1)
    ]
    run = {"seed": 3, "after_epoch": after, "epochs": rows}
    graph = name == "graph"
    return {"recipe": "fast", "name": name, "graph": graph, "runs": [run], "error": None, **values}


def cells(table: str, row: int) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in table.splitlines()[row].split("|")[1:-1]]


def test_nothing_starts_without_time_left(packed: Path, tmp_path: Path) -> None:
    assert not check.check("cuda", packed, tmp_path, 1, quick=False)
    trainings = read_json(tmp_path / "gpu.json")["trainings"]
    assert {each["error"] for each in trainings} == {"no time left"}
    assert "no time left" in (tmp_path / "gpu.md").read_text()


def test_a_nondeterministic_operator_causes_a_warning_and_training_continues(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def train(job: jobs.Job, seconds: float) -> dict[str, Any]:
        asked.append(job.only_warn)
        refused = None if job.only_warn else "RuntimeError: no deterministic implementation"
        return {**jobs.empty(), "error": refused}

    monkeypatch.setattr(jobs, "train", train)
    check.check("cpu", packed, tmp_path, 200, quick=True)
    assert asked == [False, True, True, True, True, True]
    assert "Warning: RuntimeError: no deterministic" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("digests", "error", "taken"),
    [("ab", None, True), ("ax", None, False), ("a", "RuntimeError: capture failed", False)],
)
def test_later_trainings_use_the_recorded_step_if_it_gave_the_same_bits(
    packed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digests: str,
    error: str | None,
    taken: bool,
) -> None:
    asked = []

    def train(job: jobs.Job, seconds: float) -> dict[str, Any]:
        asked.append(job.graph)
        runs = (
            training("graph", *digests)["runs"] if job.graph else training("eager", *"ab")["runs"]
        )
        return {**jobs.empty(), "runs": runs, "error": error if job.graph else None}

    monkeypatch.setattr(jobs, "train", train)
    monkeypatch.setattr(report, "text", lambda found: "")
    check.check("cuda", packed, tmp_path, 200, quick=True)
    assert asked == [False, True, taken, taken, taken, taken]


def test_different_bits_are_reported_with_the_epoch() -> None:
    trainings = [training("eager", "a", "b", "c"), training("graph", "a", "x", "y")]
    trainings += [training("killed", "a", "z"), training("resumed", "c", after=2)]
    trainings += [training("float32", "q")]
    graph, resumed = check.same_bits(trainings)
    assert (graph["same"], graph["epochs_compared"], graph["differs_in"]) == (False, 3, 2)
    assert (resumed["same"], resumed["epochs_compared"], resumed["differs_in"]) == (True, 1, None)
    assert re.search(r"\| +graph \| +\*\*no\*\*.* 2\b.* \|", report.bits_table([graph, resumed]))


def test_only_the_same_seed_is_compared() -> None:
    seeds = training("seeds", "x", "y")
    seeds["runs"] = [{**seeds["runs"][0], "seed": 1}, training("seeds", "a", "b")["runs"][0]]
    (compared,) = check.same_bits([training("eager", "a", "b"), seeds])
    assert compared["same"] is True


def test_setup_recording_and_first_epoch_are_apart() -> None:
    graph = training("graph", *"abc", precision="bfloat16", planned_epochs=9, setup_seconds=6.5)
    (run,) = graph["runs"]
    run |= {"images": 1000, "build_seconds": 1.0, "record_seconds": 0.25, "test_accuracy": 0.994}
    for row, seconds in zip(run["epochs"], (5.0, 1.0, 3.0), strict=True):
        row["seconds"] = seconds
    table = report.speed_table([graph], gate=0.994)
    assert cells(table, -1) == [
        *("fast, graph", "graph", "bfloat16", "3 of 9", "7.5", "0.25", "9.00", "5.000", "2.000"),
        *("333", "500", "99.40%", "yes"),
    ]


def test_only_finished_seeds_count() -> None:
    seeds = training("seeds", seeds=[1, 2, 3])
    times = ([1.0, 2.0], [2.0, 3.0], [4.0])
    seeds["runs"] = [{"seed": 1, "epochs": [{"seconds": each} for each in row]} for row in times]
    seeds["runs"][0]["test_accuracy"], seeds["runs"][1]["test_accuracy"] = 0.996, 0.994
    table = report.seeds_table([seeds])
    assert cells(table, -1) == [
        *("fast", "eager", "2 of 3", "99.500%", "99.40%", "0.141%", "4.00", ""),
    ]


def test_changed_code_and_a_missing_folder_are_reported(tmp_path: Path) -> None:
    assert changed_code({"pipeline/mnist/network.py": "0"}) == ["pipeline/mnist/network.py"]
    with pytest.raises(UserError, match="--pack"):
        read_packed(tmp_path / "elsewhere")
