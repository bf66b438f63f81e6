"""Reports that are read together belong to one model, even while stages write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import snapshot
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, write_csv
from pipeline.core.snapshot import read_snapshot
from pipeline.core.workspace import Workspace
from pipeline.tracking.snapshot import read_training_run
from tests.reports import edit, write_evaluation, write_training

Change = Callable[[Workspace], object]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with all reports on one model; retries do not pause."""
    monkeypatch.setattr(snapshot, "PAUSE", 0)
    workspace = Workspace(tmp_path)
    write_training(workspace)
    write_evaluation(workspace)
    return workspace


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def outdated_curves(workspace: Workspace) -> None:
    rows = read_csv(workspace.curves)
    write_csv(workspace.curves, [row | {"training_loss": 9.0} for row in rows])


MIXTURES: list[tuple[Change, str, bool, bool]] = [
    # the change, the error, and whether evaluation and verdict are still shown
    (lambda w: edit(w.export_report, weights_sha256="0" * 64),
     "export.json and .*summary.json", False, False),
    (lambda w: w.export_report.unlink(), "export.json is missing", False, False),
    (lambda w: edit(w.subject, model_sha256="0" * 64),
     "subject.json and .*export.json", False, False),
    (lambda w: edit(w.behaviour, model_sha256="0" * 64),
     "behaviour.json and .*export.json", False, False),
    (lambda w: w.behaviour.unlink(), "behaviour.json is missing", False, False),
    (outdated_curves, "curves.csv and .*history.csv", False, True),
    (lambda w: edit(w.subject, schema_version=None),
     "subject.json has no schema version", False, False),
    (lambda w: w.speed.unlink(), "speed.json is missing", False, False),
    (lambda w: rewrite(w.per_class, "0.99", "high"), "classes.csv is corrupt", False, False),
    (lambda w: rewrite(w.per_class, "label", "digit"),
     "classes.csv has no column label", False, False),
    (lambda w: edit(w.gate_report, model_sha256="0" * 64),
     "gate.json and .*export.json", True, False),
    (lambda w: edit(w.metrics, loss=0.001), "metrics.json .*gate", True, False),
    (lambda w: edit(w.behaviour, distorted_accuracy={"shifted": 0.5}),
     "behaviour.json .*gate", True, False),
    (lambda w: edit(w.speed, images_per_second=9999),
     "speed.json .*gate", True, False),
    (lambda w: rewrite(w.per_class, "0.99", "1.0"),
     "classes.csv .*gate", True, False),
    (lambda w: w.gate_table.unlink(), "gate.md is missing", True, False),
    (lambda w: w.gate_table.write_bytes(b"\xff"), "gate.md is corrupt", True, False),
]  # fmt: skip


def test_all_reports_on_one_model_are_read(workspace: Workspace) -> None:
    found = read_snapshot(workspace)
    assert found.evaluation.subject.model_sha256 == found.export.model_sha256
    assert len(found.evaluation.classes) == 10
    assert found.gate.report.passed is False


@pytest.mark.parametrize(("change", "said", "evaluated", "judged"), MIXTURES)
def test_inconsistent_reports_are_refused_in_one_line_and_not_shown(
    workspace: Workspace, change: Change, said: str, evaluated: bool, judged: bool
) -> None:
    """A release requires all reports; MLflow shows those that belong to the training's weights."""
    change(workspace)
    with pytest.raises(UserError, match=said) as error:
        read_snapshot(workspace)
    assert "\n" not in str(error.value)
    shown = read_training_run(workspace, files=True)
    assert (shown.reports.evaluation is not None) is evaluated
    assert (shown.reports.gate is not None) is judged
    assert ("reports/evaluation/metrics.json" in shown.files) is evaluated
    assert ("reports/export.json" in shown.files) is evaluated
    assert ("reports/gate.md" in shown.files) is judged


def test_a_history_without_a_required_column_is_reported(workspace: Workspace) -> None:
    rewrite(workspace.history, "seconds", "minutes")
    edit(workspace.training_report, final=read_csv(workspace.history)[-1])
    with pytest.raises(UserError, match=r"history\.csv has no column seconds.*`dvc repro`"):
        read_training_run(workspace, files=True)


def test_an_unfinished_training_has_no_evaluation(workspace: Workspace) -> None:
    """The reports of the previous model still exist."""
    write_training(workspace, run_id="second", status="unfinished", weights_sha256=None)
    shown = read_training_run(workspace, files=True).reports
    assert (shown.export, shown.evaluation, shown.gate) == (None, None, None)
    with pytest.raises(UserError, match=r"export\.json and .*summary\.json"):
        read_snapshot(workspace)


@pytest.mark.parametrize("written", ["before", "after"])
def test_a_training_that_starts_during_reading_is_not_mixed_in(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """Its history is written just before or just after it is read."""
    begun: list[Path] = []

    def read_while_written(path: Path, **options: Any) -> list[dict[str, float]]:
        def begin() -> None:
            if not begun:
                begun.append(path)
                write_training(workspace, epochs=3, run_id="second", weights_sha256="9" * 64)

        if written == "before":
            begin()
        rows = read_csv(path, **options)
        begin()
        return rows

    monkeypatch.setattr(snapshot, "read_csv", read_while_written)
    found = read_training_run(workspace, files=True)
    training = found.reports.training
    assert training.report.run_id == "second"
    assert [len(training.history), len(training.system)] == [3, 3]
    assert json.loads(found.files["reports/train/summary.json"])["run_id"] == "second"
    assert found.reports.evaluation is None


def test_an_evaluation_written_during_reading_is_not_mixed_in(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = snapshot._verdict
    done: list[bool] = []

    def late(*arguments: Any) -> Any:
        found = verdict(*arguments)
        if not done:
            done.append(True)
            write_evaluation(workspace, model_sha256="9" * 64)
        return found

    monkeypatch.setattr(snapshot, "_verdict", late)
    assert read_snapshot(workspace).evaluation.subject.model_sha256 == "9" * 64


def test_an_inconsistent_history_is_retried_and_then_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage writes the history first: for a moment the summary is outdated."""
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.core.snapshot.time.sleep", pauses.append)
    write_csv(workspace.history, [{"epoch": 1, "training_loss": 9.0, "seconds": 1.0}])
    with pytest.raises(UserError, match=r"history\.csv .*summary\.json"):
        read_training_run(workspace, files=False)
    assert len(pauses) == snapshot.ATTEMPTS - 1


def test_reports_that_keep_changing_are_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = snapshot._verdict
    monkeypatch.setattr(snapshot, "ATTEMPTS", 3)

    def rewritten(*arguments: Any) -> Any:
        write_evaluation(workspace)
        return verdict(*arguments)

    monkeypatch.setattr(snapshot, "_verdict", rewritten)
    with pytest.raises(UserError, match="reports keeps changing"):
        read_snapshot(workspace)
