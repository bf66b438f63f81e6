"""The gate passes a model by every criterion together, and by nothing but its declared inputs."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Gate
from pipeline.core.errors import RefusedError
from pipeline.stages import gate
from tests.workspace import PROJECT, python

Report = dict[str, Any]

METRICS, SUBJECT = "reports/evaluation/metrics.json", "reports/evaluation/subject.json"
EXPORT = "reports/export.json"
PARAMS = Gate(
    min_accuracy=0.994,
    test_images=10_000,
    test_sha256="a" * 64,
    max_logit_difference=0.001,
    max_prediction_differences=2,
    parameters=19_210,
    max_model_bytes=200_000,
)
REPORTS: dict[str, Report] = {  # every figure exactly at its threshold
    METRICS: {"accuracy": 0.994, "images": 10_000},
    SUBJECT: {"test_sha256": "a" * 64, "model_sha256": "b" * 64},
    EXPORT: {
        "model_sha256": "b" * 64,
        "max_logit_difference": 0.001,
        "prediction_differences": 2,
        "parameters": 19_210,
        "model_bytes": 200_000,
    },
}
FIGURES = {  # where a criterion finds its figure
    "test accuracy": (METRICS, "accuracy"),
    "test images": (METRICS, "images"),
    "test set SHA-256": (SUBJECT, "test_sha256"),
    "evaluated file SHA-256": (SUBJECT, "model_sha256"),
    "logit difference to torch": (EXPORT, "max_logit_difference"),
    "other predictions than torch": (EXPORT, "prediction_differences"),
    "parameters": (EXPORT, "parameters"),
    "model bytes": (EXPORT, "model_bytes"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, without MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(changes: Mapping[str, Any] | None = None) -> None:
    """Write the reports into the current folder; text goes in as it is, None leaves one out."""
    for name, report in {**REPORTS, **(changes or {})}.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if report is not None:
            path.write_text(report if isinstance(report, str) else json.dumps(report))


def changed(figures: Mapping[str, Any]) -> dict[str, Report]:
    """The reports with other values for the figures of these criteria."""
    reports = {name: dict(report) for name, report in REPORTS.items()}
    for criterion, value in figures.items():
        name, key = FIGURES[criterion]
        reports[name][key] = value
    return reports


def verdict(params: Gate = PARAMS) -> Report:
    """What gate.json says of the reports in the current folder; it is strict JSON."""
    try:
        gate.run(params)
        refused = False
    except RefusedError:
        refused = True
    content: Report = json.loads(Path("reports/gate.json").read_text(), parse_constant=pytest.fail)
    assert content["passed"] is not refused
    return content


def failing(judged: Report) -> list[str]:
    return [criterion["name"] for criterion in judged["criteria"] if not criterion["passed"]]


def table() -> dict[str, tuple[str, str, str]]:
    """The rows of gate.md by criterion: measured, required, verdict."""
    lines = Path("reports/gate.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return {name: (measured, required, mark) for name, measured, required, mark in rows[2:]}


def test_every_figure_exactly_at_its_threshold_passes() -> None:
    write()
    judged = verdict()
    assert judged["passed"] is True
    assert [criterion["name"] for criterion in judged["criteria"]] == list(FIGURES)
    assert judged["model_sha256"] == "b" * 64


@pytest.mark.parametrize(
    ("criterion", "value"),
    [
        ("test accuracy", math.nextafter(0.994, 0)),
        ("test accuracy", 0),
        ("test accuracy", 99.0),  # a percentage, and one that is too low
        ("test images", 9_999),
        ("test images", 10_001),
        ("test set SHA-256", "a" * 63 + "b"),
        ("evaluated file SHA-256", "b" * 63 + "a"),
        ("logit difference to torch", math.nextafter(0.001, 1)),
        ("other predictions than torch", 3),
        ("parameters", 19_209),
        ("parameters", 19_211),
        ("model bytes", 200_001),
    ],
)
def test_one_figure_beyond_its_threshold_refuses(criterion: str, value: Any) -> None:
    write(changed({criterion: value}))
    judged = verdict()
    assert failing(judged) == [criterion]
    assert [c["measured"] for c in judged["criteria"] if c["name"] == criterion] == [value]


@pytest.mark.parametrize(
    ("criterion", "key", "threshold"),
    [
        ("test accuracy", "min_accuracy", 0.9941),
        ("test images", "test_images", 500),
        ("test set SHA-256", "test_sha256", "c" * 64),
        ("logit difference to torch", "max_logit_difference", 0.0),
        ("other predictions than torch", "max_prediction_differences", 1),
        ("parameters", "parameters", 1),
        ("model bytes", "max_model_bytes", 199_999),
    ],
)
def test_the_threshold_is_the_one_in_params(criterion: str, key: str, threshold: Any) -> None:
    write()
    assert failing(verdict(PARAMS.model_copy(update={key: threshold}))) == [criterion]


@pytest.mark.parametrize("criterion", FIGURES)
def test_a_missing_figure_fails_and_is_called_missing(criterion: str) -> None:
    reports = changed({})
    name, key = FIGURES[criterion]
    del reports[name][key]
    write(reports)
    assert failing(verdict()) == [criterion]
    assert table()[criterion][0] == "missing"


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, -math.inf, "0.999", "", True, False, 10**400),
        *([], [0.999], [math.nan], {}, {str(number): number for number in range(20)}),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_what_is_no_finite_number_nor_the_digest_fails_and_is_shown(value: Any) -> None:
    write(changed(dict.fromkeys(FIGURES, value)))
    assert failing(verdict()) == list(FIGURES)
    assert "missing" not in [measured for measured, _, _ in table().values()]


@pytest.mark.parametrize("digest", [math.nan, math.inf, [math.nan], None], ids=repr)
def test_without_a_digest_of_the_exported_file_no_evaluation_is_about_it(digest: Any) -> None:
    reports = changed({"evaluated file SHA-256": digest})
    reports[EXPORT]["model_sha256"] = digest
    write(reports)
    assert failing(verdict()) == ["evaluated file SHA-256"]


@pytest.mark.parametrize(
    ("criterion", "key"), [("test images", "test_images"), ("parameters", "parameters")]
)
def test_true_is_not_the_number_one(criterion: str, key: str) -> None:
    write(changed({criterion: True}))
    assert failing(verdict(PARAMS.model_copy(update={key: 1}))) == [criterion]


@pytest.mark.parametrize(
    "broken",
    [None, "", "{", "[]", "null", "7", '"passed"', '{"accuracy": }', "\x00", "[" * 100_000],
    ids=lambda text: "missing" if text is None else repr(text)[:16],
)
@pytest.mark.parametrize("report", REPORTS)
def test_an_absent_or_unreadable_report_fails_all_its_figures(report: str, broken: Any) -> None:
    write({report: broken})
    expected = {name for name, (place, _) in FIGURES.items() if place == report}
    if report == EXPORT:  # holds the digest to compare with
        expected.add("evaluated file SHA-256")
    assert set(failing(verdict())) == expected


def test_no_report_stands_in_for_another() -> None:
    """A metrics.json of an older version, which held the digests too, is no subject.json."""
    write({METRICS: REPORTS[METRICS] | REPORTS[SUBJECT], SUBJECT: None})
    assert failing(verdict()) == ["test set SHA-256", "evaluated file SHA-256"]


def test_without_any_report_everything_fails() -> None:
    assert failing(verdict()) == list(FIGURES)


def shows(cell: str, value: Any) -> bool:
    """Whether a cell of the table stands for a value of gate.json."""
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
        {EXPORT: None},
        changed({"test set SHA-256": "c" * 64, "parameters": 7}),
    ],
    ids=["passed", "too low", "NaN", "no export report", "two fail"],
)
def test_table_and_json_say_the_same(reports: dict[str, Any]) -> None:
    write(reports)
    judged = verdict()
    rows = table()
    assert list(rows) == [criterion["name"] for criterion in judged["criteria"]]
    for criterion in judged["criteria"]:
        measured, required, mark = rows[criterion["name"]]
        relation, threshold = required.split(" ", 1)
        assert mark == ("passed" if criterion["passed"] else "**FAILED**")
        assert relation == criterion["relation"]
        assert shows(measured, criterion["measured"])
        assert shows(threshold, criterion["threshold"])
    heading = "## Gate passed" if judged["passed"] else "## Gate refused"
    assert Path("reports/gate.md").read_text().startswith(heading + "\n")


@pytest.mark.parametrize("accuracy", [0.999, 0.9])
def test_nothing_but_reports_and_params_decides(
    folder: Path, monkeypatch: pytest.MonkeyPatch, accuracy: float
) -> None:
    """Same inputs, same bytes: in an empty folder, and amid an older verdict and other models."""
    answers = []
    for others in ([], ["models/mnist-cnn.onnx", "artifacts/model.onnx", "reports/gate.json"]):
        place = folder / f"with {len(others)} other files"
        place.mkdir()
        monkeypatch.chdir(place)
        write(changed({"test accuracy": accuracy}))
        for name in others:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(json.dumps({"passed": accuracy < 0.99}))
            monkeypatch.setenv("TZ", "Asia/Tokyo")
        verdict()
        answers.append([Path(f"reports/gate.{kind}").read_bytes() for kind in ("json", "md")])
    assert answers[0] == answers[1]


def write_params() -> None:
    content = yaml.safe_load((PROJECT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(content | {"gate": PARAMS.model_dump()}))


def test_a_refusal_is_exit_status_1_and_names_what_fails() -> None:
    write_params()
    write(changed({"test accuracy": 0.9939, "parameters": 20_000}))
    result = python(Path(), "-m", "pipeline", "gate")
    assert result.returncode == 1
    assert Path("reports/gate.md").read_text() in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(shown in line for shown in ("test accuracy", "0.9939", "parameters"))
    assert "model bytes" not in line


def test_a_verdict_is_told_in_any_locale() -> None:
    """An exit status of 1 would be a refusal."""
    write_params()
    write()
    strict = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = python(Path(), "-m", "pipeline", "gate", **strict)
    assert (result.returncode, result.stderr) == (0, "")
    assert r"\u2265 0.994" in result.stdout


@pytest.mark.parametrize(
    ("criterion", "value", "said"),
    [
        ("test accuracy", 0.98, "0.98, required ≥ 0.994 (0.014 too low)"),
        ("test accuracy", 0, "0, required ≥ 0.994 (0.994 too low)"),
        ("test accuracy", 0.99399, "0.994, required ≥ 0.994 (1e-05 too low)"),  # and not by 0
        ("test accuracy", 99.4, "99.4, required ≥ 0.994 (98.41 too high)"),
        ("logit difference to torch", 0.0015, "0.0015, required ≤ 0.001 (0.0005 too high)"),
        ("other predictions than torch", 3, "3, required ≤ 2 (1 too high)"),
        ("model bytes", 285_463, "285,463, required ≤ 200,000 (85,463 too high)"),
        ("test accuracy", None, "missing, required ≥ 0.994"),
        ("test accuracy", math.nan, "nan, required ≥ 0.994"),
        ("test accuracy", "0.98", "0.98, required ≥ 0.994"),
        ("model bytes", None, "missing, required ≤ 200,000"),
        ("model bytes", math.inf, "inf, required ≤ 200,000"),
        ("parameters", 20_000, "20,000, required = 19,210"),
        ("test images", 9_999, "9,999, required = 10,000"),
        ("test set SHA-256", "c" * 64, "cccccccccccc…, required = aaaaaaaaaaaa…"),
    ],
)
def test_a_refusal_says_by_how_much_where_that_can_be_said(
    criterion: str, value: Any, said: str
) -> None:
    write(changed({criterion: value}))
    with pytest.raises(RefusedError) as refusal:
        gate.run(PARAMS)
    assert str(refusal.value) == f"the gate refuses the model: {criterion} is {said}"


def test_a_refusal_says_of_each_criterion_that_fails_by_how_much() -> None:
    write(changed({"test accuracy": 0.98, "parameters": 20_000, "model bytes": 285_463}))
    with pytest.raises(RefusedError) as refusal:
        gate.run(PARAMS)
    assert str(refusal.value) == (
        "the gate refuses the model: test accuracy is 0.98, required ≥ 0.994 (0.014 too low); "
        "parameters is 20,000, required = 19,210; "
        "model bytes is 285,463, required ≤ 200,000 (85,463 too high)"
    )


def test_a_passed_gate_is_exit_status_0_and_needs_no_torch() -> None:
    write_params()
    write()
    program = (
        "import sys; sys.argv = ['pipeline', 'gate']\n"
        "from pipeline.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded:', *sorted({'torch', 'onnxruntime', 'mlflow'} & {*sys.modules}))"
    )
    result = python(Path(), "-c", program)
    assert result.returncode == 0
    assert result.stderr == ""
    assert Path("reports/gate.md").read_text() in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
