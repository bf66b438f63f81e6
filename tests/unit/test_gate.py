"""The gate passes a model that meets every criterion; only its declared inputs matter."""

import json
import math
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Gate
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import sha256, write_csv
from pipeline.core.reports import GateReport
from pipeline.core.workspace import Workspace
from pipeline.evaluation.distortions import DISTORTIONS, NUDGES
from pipeline.stages import gate
from pipeline.tracking import background
from tests.reports import BEHAVIOUR, EXPORT, LIVE, MEASURED_LIVE, METRICS, SUBJECT

PARAMS = Gate(
    min_accuracy=0.994,
    min_recall=0.98,
    max_calibration_error=0.001,
    min_distorted_accuracy={"shifted": 0.99, "noisy": 0.98},
    max_changed_predictions={"shift": 0.01},
    min_coverage={"0.99": 0.985},
    max_refused=0.006,
    min_refused_negatives={"noise": 0.97, "scribbles": 0.9},
    test_images=10_000,
    test_sha256="a" * 64,
    min_live_accuracy=0.9,
    max_logit_difference=0.001,
    max_prediction_differences=2,
    max_provider_logit_difference=0.5,
    max_provider_prediction_differences=10,
    max_novelty_difference=0.002,
    max_provider_novelty_difference=0.25,
    max_provider_verdict_differences=20,
    parameters=19_210,
    max_model_bytes=200_000,
)
SHIFTED, NOISY = (DISTORTIONS[name].title for name in ("shifted", "noisy"))
SHIFT = NUDGES["shift"].title
REPORTS = {  # every figure exactly at its threshold
    "metrics": METRICS.model_dump(mode="json"),
    "subject": SUBJECT.model_dump(mode="json"),
    "behaviour": BEHAVIOUR.model_dump(mode="json"),
    "live_report": MEASURED_LIVE.model_dump(mode="json"),
    "export_report": EXPORT.model_dump(mode="json"),
}
FIGURES = {  # report and key of each criterion
    "test accuracy": ("metrics", "accuracy"),
    "lowest recall of a class": ("metrics", "lowest_recall"),
    "expected calibration error": ("metrics", "expected_calibration_error"),
    "test images": ("metrics", "images"),
    "test set SHA-256": ("subject", "test_sha256"),
    "evaluated file SHA-256": ("subject", "model_sha256"),
    "logit difference from torch": ("export_report", "max_logit_difference"),
    "novelty difference from torch": ("export_report", "max_novelty_difference"),
    "prediction differences from torch": ("export_report", "prediction_differences"),
    "parameters": ("export_report", "parameters"),
    "model bytes": ("export_report", "model_bytes"),
    "behaviour: file SHA-256": ("behaviour", "model_sha256"),
    f"{SHIFTED}: accuracy": ("behaviour", "distorted_accuracy/shifted"),
    f"{NOISY}: accuracy": ("behaviour", "distorted_accuracy/noisy"),
    f"{SHIFT}: changed predictions": ("behaviour", "changed_predictions/shift"),
    "prediction sets: coverage of 0.99": ("behaviour", "coverage/0.99"),
    "test images: refused": ("behaviour", "refused"),
    "noise: refused": ("behaviour", "refused_negatives/noise"),
    "scribbles: refused": ("behaviour", "refused_negatives/scribbles"),
    "live test set: file SHA-256": ("live_report", "model_sha256"),
    "live test set: accuracy": ("live_report", "quality/accuracy"),
}
PROVIDER_FIGURES = {
    "OpenVINO: test accuracy": ("subject", "providers/1/accuracy"),
    "OpenVINO: prediction differences": ("subject", "providers/1/prediction_differences"),
    "OpenVINO: verdict differences": ("subject", "providers/1/verdict_differences"),
    "OpenVINO: logit difference": ("subject", "providers/1/max_logit_difference"),
    "OpenVINO: novelty difference": ("subject", "providers/1/max_novelty_difference"),
}
Changes = Mapping[str, Any]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, without MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    return Workspace(tmp_path)


def write(workspace: Workspace, changes: Changes | None = None) -> None:
    """Write the reports; text is written as it is, None omits a report."""
    for name, report in {**REPORTS, **(changes or {})}.items():
        path = getattr(workspace, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if report is not None:
            path.write_text(report if isinstance(report, str) else json.dumps(report))


def changed(figures: Changes) -> dict[str, Any]:
    """The reports with other values for the figures of these criteria."""
    reports = deepcopy(REPORTS)
    for criterion, value in figures.items():
        name, path = (FIGURES | PROVIDER_FIGURES)[criterion]
        *parents, key = path.split("/")
        place: Any = reports[name]
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        place[key] = value
    return reports


def criteria_of(report: str) -> set[str]:
    """The criteria that fail without this report."""
    digests = {
        *("evaluated file SHA-256", "behaviour: file SHA-256", "live test set: file SHA-256"),
    }
    digest = digests if report == "export_report" else set()
    return digest | {name for name, (place, _) in FIGURES.items() if place == report}


def verdict(workspace: Workspace, params: Gate = PARAMS) -> GateReport:
    """The content of gate.json, which must be strict JSON."""
    try:
        gate.run(workspace, params)
        refused = False
    except RefusedError:
        refused = True
    json.loads(workspace.gate_report.read_text(), parse_constant=pytest.fail)
    judged = GateReport.read(workspace.gate_report)
    assert judged.passed is not refused
    return judged


def failing(judged: GateReport) -> list[str]:
    return [criterion.name for criterion in judged.criteria if not criterion.passed]


def test_a_live_test_set_that_was_not_measured_is_not_judged(workspace: Workspace) -> None:
    write(workspace, {"live_report": LIVE.model_dump(mode="json")})
    judged = verdict(workspace, PARAMS.model_copy(update={"min_live_accuracy": 1.0}))
    assert judged.passed
    assert not [each.name for each in judged.criteria if each.name.startswith("live")]


@pytest.mark.parametrize(("accuracy", "published"), [(0.994, []), (0.99, ["training"])])
def test_only_a_refusal_is_published(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, accuracy: float, published: list[str]
) -> None:
    """The release follows a pass and publishes it."""
    done: list[str] = []
    monkeypatch.setattr(background, "publish", lambda workspace, *which: done.extend(which))
    write(workspace, changed({"test accuracy": accuracy}))
    verdict(workspace)
    assert done == published


def table(workspace: Workspace) -> dict[str, tuple[str, str, str]]:
    """The rows of gate.md by criterion: measured, required, verdict."""
    lines = workspace.gate_table.read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return {name: (measured, required, mark) for name, measured, required, mark in rows[2:]}


def test_figures_exactly_at_their_thresholds_pass(workspace: Workspace) -> None:
    write(workspace)
    judged = verdict(workspace)
    assert judged.passed is True
    assert [criterion.name for criterion in judged.criteria] == [*FIGURES, *PROVIDER_FIGURES]
    assert judged.model_sha256 == EXPORT.model_sha256


@pytest.mark.parametrize(
    ("criterion", "value"),
    [
        ("test accuracy", math.nextafter(0.994, 0)),
        ("test accuracy", 0.0),
        ("test accuracy", 99.0),  # a percentage, and too low
        ("lowest recall of a class", math.nextafter(0.98, 0)),
        ("lowest recall of a class", 98.0),
        ("expected calibration error", math.nextafter(0.001, 1)),
        ("test images", 9_999),
        ("test images", 10_001),
        ("test set SHA-256", "a" * 63 + "b"),
        ("test set SHA-256", ""),
        ("evaluated file SHA-256", "f" * 63 + "a"),
        ("logit difference from torch", math.nextafter(0.001, 1)),
        ("prediction differences from torch", 3),
        ("parameters", 19_209),
        ("parameters", 19_211),
        ("model bytes", 200_001),
        ("behaviour: file SHA-256", "e" * 64),
        (f"{SHIFTED}: accuracy", math.nextafter(0.99, 0)),
        (f"{NOISY}: accuracy", math.nextafter(0.98, 0)),
        (f"{SHIFT}: changed predictions", math.nextafter(0.01, 1)),
        ("prediction sets: coverage of 0.99", 0.9849),
        ("test images: refused", 0.0061),
        ("noise: refused", 0.9699),
        ("OpenVINO: test accuracy", 0.9939),
        ("OpenVINO: prediction differences", 11),
        ("OpenVINO: logit difference", math.nextafter(0.5, 1)),
    ],
)
def test_one_figure_beyond_its_threshold_fails_the_gate(
    workspace: Workspace, criterion: str, value: Any
) -> None:
    write(workspace, changed({criterion: value}))
    judged = verdict(workspace)
    assert failing(judged) == [criterion]
    assert [c.measured for c in judged.criteria if c.name == criterion] == [value]


@pytest.mark.parametrize(
    ("criterion", "key", "threshold"),
    [
        ("test accuracy", "min_accuracy", 0.9941),
        ("lowest recall of a class", "min_recall", 0.981),
        ("expected calibration error", "max_calibration_error", 0.0009),
        (f"{NOISY}: accuracy", "min_distorted_accuracy", {"shifted": 0.99, "noisy": 0.981}),
        (f"{SHIFT}: changed predictions", "max_changed_predictions", {"shift": 0.009}),
        ("prediction sets: coverage of 0.99", "min_coverage", {"0.99": 0.986}),
        ("test images: refused", "max_refused", 0.005),
        ("scribbles: refused", "min_refused_negatives", {"scribbles": 0.91}),
        ("test images", "test_images", 500),
        ("test set SHA-256", "test_sha256", "c" * 64),
        ("logit difference from torch", "max_logit_difference", 0.0),
        ("prediction differences from torch", "max_prediction_differences", 1),
        ("parameters", "parameters", 1),
        ("model bytes", "max_model_bytes", 199_999),
    ],
)
def test_thresholds_come_from_params(
    workspace: Workspace, criterion: str, key: str, threshold: Any
) -> None:
    write(workspace)
    assert failing(verdict(workspace, PARAMS.model_copy(update={key: threshold}))) == [criterion]


@pytest.mark.parametrize("criterion", FIGURES)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, [0.999], {}], ids=repr)
def test_an_invalid_figure_fails_all_criteria_of_its_report(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], criterion: str, value: Any
) -> None:
    """The table shows the criterion as missing, and the first line printed names the figure."""
    write(workspace, changed({criterion: value}))
    report, key = FIGURES[criterion]
    assert set(failing(verdict(workspace))) == criteria_of(report)
    assert table(workspace)[criterion][0] == "missing"
    first, *_ = capsys.readouterr().out.splitlines()
    place = key.replace("/", ".")
    assert first.startswith(f"gate: {getattr(workspace, report)}: {place}: ")


@pytest.mark.parametrize("broken", [None, "", "{", "[]", "null", "7", "\x00", "[" * 100_000])
@pytest.mark.parametrize("report", REPORTS)
def test_a_missing_or_unreadable_report_fails_all_its_criteria(
    workspace: Workspace, report: str, broken: Any
) -> None:
    write(workspace, {report: broken})
    assert set(failing(verdict(workspace))) == criteria_of(report)


def test_one_report_cannot_replace_another(workspace: Workspace) -> None:
    """An older metrics.json, which also contained the digests, does not replace subject.json."""
    write(workspace, {"metrics": REPORTS["metrics"] | REPORTS["subject"], "subject": None})
    assert set(failing(verdict(workspace))) == criteria_of("metrics") | criteria_of("subject")


@pytest.mark.parametrize("name", ["export_report", "subject"])
def test_a_report_of_an_older_version_is_an_error_not_a_verdict(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Not a verdict of eight missing criteria."""
    write(workspace, {name: REPORTS[name] | {"schema_version": 0}})
    with pytest.raises(UserError, match=r"schema version 0.*`dvc repro`") as error:
        gate.run(workspace, PARAMS)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
    assert not workspace.gate_report.exists()


def test_the_table_contains_full_digests(workspace: Workspace) -> None:
    """For comparison with the digest of a file."""
    write(workspace, changed({"test set SHA-256": "c" * 64}))
    verdict(workspace)
    text = workspace.gate_table.read_text()
    assert all(digit * 64 in text for digit in "acf")  # required, measured, model


def test_the_verdict_records_digests_of_the_reports(workspace: Workspace) -> None:
    write(workspace)
    write_csv(workspace.per_class, [{"label": "0"}])
    names = ["behaviour.json", "classes.csv", "live.json", "metrics.json", "subject.json"]
    expected = {
        f"reports/{name}": sha256(workspace.root / "reports" / name)
        for name in [*(f"evaluation/{name}" for name in names), "export.json"]
    }
    assert verdict(workspace).reports_sha256 == expected


def test_without_reports_every_criterion_fails(workspace: Workspace) -> None:
    judged = verdict(workspace)
    assert failing(judged) == list(FIGURES)
    assert judged.model_sha256 is None


def shows(cell: str, value: Any) -> bool:
    """Whether a cell of the table shows a value of gate.json."""
    if value is None:
        return cell == "missing"
    if isinstance(value, int | float):
        return float(cell.replace(",", "")) == pytest.approx(value, rel=1e-3)
    return str(value).startswith(cell.removesuffix("…"))


@pytest.mark.parametrize(
    "reports",
    [
        {},
        changed({"test accuracy": 0.5}),
        changed({"test accuracy": math.nan}),
        {"export_report": None},
        changed({"test set SHA-256": "c" * 64, "parameters": 7}),
    ],
    ids=["passed", "too low", "NaN", "no export report", "two fail"],
)
def test_the_table_and_json_agree(workspace: Workspace, reports: Changes) -> None:
    write(workspace, reports)
    judged = verdict(workspace)
    rows = table(workspace)
    assert list(rows) == [criterion.name for criterion in judged.criteria]
    for criterion in judged.criteria:
        measured, required, mark = rows[criterion.name]
        relation, threshold = required.split(" ", 1)
        assert mark == ("passed" if criterion.passed else "**FAILED**")
        assert relation == criterion.relation
        assert shows(measured, criterion.measured)
        assert shows(threshold, criterion.threshold)
    heading = "## Gate passed" if judged.passed else "## Gate refused"
    assert workspace.gate_table.read_text().startswith(heading + "\n")


@pytest.mark.parametrize("accuracy", [0.999, 0.9])
def test_only_reports_and_params_affect_the_verdict(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, accuracy: float
) -> None:
    """Same inputs, same bytes, with or without an older verdict and other models."""
    answers = []
    for others in ([], ["models/mnist-cnn.onnx", "artifacts/model.onnx", "reports/gate.json"]):
        place = Workspace(tmp_path / f"with {len(others)} other files")
        write(place, changed({"test accuracy": accuracy}))
        for name in others:
            (place.root / name).parent.mkdir(exist_ok=True)
            (place.root / name).write_text(json.dumps({"passed": accuracy < 0.99}))
            monkeypatch.setenv("TZ", "Asia/Tokyo")
        verdict(place)
        answers.append([path.read_bytes() for path in (place.gate_report, place.gate_table)])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        ({"test accuracy": 0.98}, [["test accuracy", "0.98", "≥ 0.994", "0.014 too low"]]),
        ({"test accuracy": 0.0}, [["test accuracy", "0", "≥ 0.994", "0.994 too low"]]),
        # and not by 0
        ({"test accuracy": 0.99399}, [["test accuracy", "0.994", "≥ 0.994", "1e-05 too low"]]),
        ({"test accuracy": 99.4}, [["test accuracy", "99.4", "≥ 0.994", "98.41 too high"]]),
        (
            {"logit difference from torch": 0.0015},
            [["logit difference from torch", "0.0015", "≤ 0.001", "0.0005 too high"]],
        ),
        ({"model bytes": 285_463}, [["model bytes", "285,463", "≤ 200,000", "85,463 too high"]]),
        ({"parameters": 20_000}, [["parameters", "20,000", "= 19,210"]]),
        (
            {"test set SHA-256": "c" * 64},
            [["test set SHA-256", "cccccccccccc…", "= aaaaaaaaaaaa…"]],
        ),
        (
            {"test accuracy": 0.98, "parameters": 20_000, "prediction differences from torch": 3},
            [
                ["test accuracy", "0.98", "≥ 0.994", "0.014 too low"],
                ["prediction differences from torch", "3", "≤ 2", "1 too high"],
                ["parameters", "20,000", "= 19,210"],
            ],
        ),
        (
            {"test accuracy": None},
            [
                ["test accuracy", "missing", "≥ 0.994"],
                ["lowest recall of a class", "missing", "≥ 0.98"],
                ["expected calibration error", "missing", "≤ 0.001"],
                ["test images", "missing", "= 10,000"],
            ],
        ),
    ],
)
def test_a_refusal_states_how_far_each_criterion_is_off(
    workspace: Workspace, figures: Changes, failed: list[list[str]]
) -> None:
    write(workspace, changed(figures))
    with pytest.raises(RefusedError) as refusal:
        gate.run(workspace, PARAMS)
    for clause, parts in zip(str(refusal.value).split("; "), failed, strict=True):
        assert re.search(r".*[\s(]".join(map(re.escape, parts)), clause)
