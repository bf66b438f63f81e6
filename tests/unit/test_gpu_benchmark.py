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


def test_nothing_starts_without_time_left(packed: Path, tmp_path: Path) -> None:
    assert not check.check("cpu", packed, tmp_path, 1, quick=False)
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
        return {"error": refused, "epochs": [], "warnings": []}

    monkeypatch.setattr(jobs, "train", train)
    check.check("cpu", packed, tmp_path, 200, quick=True)
    assert asked == [False, True, True, True, True]
    assert "Warning: RuntimeError: no deterministic" in (tmp_path / "gpu.md").read_text()


def test_different_bits_are_reported_with_the_epoch() -> None:
    def training(name: str, *digests: str, after: int = 0) -> dict[str, Any]:
        numbered = enumerate(digests, start=after + 1)
        rows = [{"epoch": number, "weights_sha256": digest} for number, digest in numbered]
        return {"recipe": "fast", "name": name, "epochs": rows}

    trainings = [training("first", "a", "b", "c"), training("again", "a", "x", "y")]
    trainings += [training("killed", "a", "z"), training("resumed", "c", after=2)]
    found = check.same_bits(trainings)["fast"]
    assert found["again"] == {"same": False, "epochs_compared": 3, "differs_in": 2}
    assert found["resumed"] == {"same": True, "epochs_compared": 1, "differs_in": None}
    assert re.search(r"\| +\*\*no\*\*.* 2\b.* \|", report.bits_table({"fast": found}))


def test_speed_is_reported_with_and_without_the_first_epoch() -> None:
    rows = [{"seconds": seconds} for seconds in (5.0, 1.0, 3.0)]
    training = {"recipe": "fast", "name": "first", "precision": "bfloat16", "images": 1000}
    training |= {"epochs": rows, "planned_epochs": 9, "process_seconds": 20.0}
    table = report.speed_table([training | {"test_accuracy": 0.994}], gate=0.994)
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")[3:-2]]
    assert cells == ["3 of 9", "9.0", "20.0", "333", "500", "5.00", "2.00", "99.40%", "yes"]


def test_changed_code_and_a_missing_folder_are_reported(tmp_path: Path) -> None:
    assert changed_code({"pipeline/mnist/network.py": "0"}) == ["pipeline/mnist/network.py"]
    with pytest.raises(UserError, match="--pack"):
        read_packed(tmp_path / "elsewhere")
