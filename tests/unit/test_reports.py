"""A report of another version, or with wrong keys or types, is refused entirely."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.core.report_file import Report
from pipeline.core.reports import GateReport, Metrics, TrainingReport
from pipeline.core.workspace import Workspace
from tests.reports import METRICS, TRAINING, edit, write_training, write_verdict


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the reports of a training and the gate."""
    workspace = Workspace(tmp_path)
    write_training(workspace)
    write_verdict(workspace, passed=True)
    METRICS.write(workspace.metrics)
    return workspace


def test_reports_round_trip(workspace: Workspace) -> None:
    assert Metrics.read(workspace.metrics) == METRICS
    read = TrainingReport.read(workspace.training_report)
    assert read.model_copy(update={"final": None}) == TRAINING


@pytest.mark.parametrize("version", [None, 0, 2, "1", [1], "a\nb"])
def test_a_report_of_another_version_is_refused_with_the_remedy(
    workspace: Workspace, version: Any
) -> None:
    """For example a summary.json from before schemas had versions."""
    edit(workspace.training_report, schema_version=version)
    with pytest.raises(UserError) as refused:
        TrainingReport.read(workspace.training_report)
    found = "no schema version" if version is None else f"schema version {json.dumps(version)}"
    message = str(refused.value)
    assert message.startswith(f"{workspace.training_report} has {found}, ")
    assert "`dvc repro`" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"run_id": None}, "run_id"),
        ({"errors": 7}, "errors"),
        ({"threads": "1"}, "threads"),
        ({"started": "yesterday"}, "started"),
        ({"threads": True}, "threads"),
        ({"seconds": "1.0"}, "seconds"),
        ({"status": "almost"}, "status"),
        ({"hardware": {"cores": 2}}, "hardware.processor"),
        ({"hardware": []}, "hardware"),
    ],
    ids=str,
)
def test_missing_extra_and_mistyped_keys_are_reported(
    workspace: Workspace, changes: dict[str, Any], where: str
) -> None:
    edit(workspace.training_report, **changes)
    with pytest.raises(UserError, match=rf"summary\.json: {where}: .*dvc repro`") as error:
        TrainingReport.read(workspace.training_report)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [TrainingReport, Metrics])
@pytest.mark.parametrize("text", ["[]", "null", "7", "{}", '"x"', "{", "", "\x00", "[" * 100_000])
def test_a_file_that_is_not_a_report_is_refused_in_one_line(
    tmp_path: Path, kind: type[Report], text: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"report\.json") as error:
        kind.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400])
def test_numbers_that_are_not_finite_are_refused(workspace: Workspace, value: float) -> None:
    content = json.loads(workspace.metrics.read_text()) | {"accuracy": value}
    workspace.metrics.write_text(json.dumps(content))
    with pytest.raises(UserError, match="accuracy"):
        Metrics.read(workspace.metrics)


@pytest.mark.parametrize("changes", [{"passed": False}, {"model_sha256": None}, {"criteria": []}])
def test_a_manually_edited_verdict_is_refused(
    workspace: Workspace, changes: dict[str, Any]
) -> None:
    assert GateReport.read(workspace.gate_report).passed
    content = json.loads(workspace.gate_report.read_text()) | changes
    workspace.gate_report.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"gate\.json"):
        GateReport.read(workspace.gate_report)
