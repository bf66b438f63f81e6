"""The JSON reports, from their typed models."""

from pathlib import Path

from pydantic import BaseModel

from docs.generated.files import written_by
from docs.generated.markdown import attribute_comments, code, sentence, table
from docs.generated.schema import describe
from pipeline.core import collect_report, reports
from pipeline.core.release_report import Comparison, ReleaseReport
from pipeline.core.report_file import Report
from pipeline.core.workspace import Workspace
from pipeline.inference.golden import Golden
from pipeline.monitoring.monitor import FOLDER
from pipeline.monitoring.quality import Accuracy
from pipeline.monitoring.state import Event, Judged, State, state_file
from pipeline.registry.answers import Answers
from pipeline.registry.folder import ANSWERS, GOLDEN
from pipeline.registry.ledger import Line
from pipeline.registry.releases import Pointer

HERE = Workspace(Path())
RELEASE = HERE.releases / "N"
FILES: dict[type[Report], Path] = {
    reports.BackpropReport: HERE.backprop_summary,
    collect_report.CollectReport: HERE.collect_report,
    reports.TrainingReport: HERE.training_report,
    reports.DetectorReport: HERE.detector_report,
    reports.CalibrationReport: HERE.calibration_report,
    reports.ExportReport: HERE.export_report,
    reports.Metrics: HERE.metrics,
    reports.Subject: HERE.subject,
    reports.Behaviour: HERE.behaviour,
    collect_report.LiveReport: HERE.live_report,
    reports.Speed: HERE.speed,
    reports.GateReport: HERE.gate_report,
    ReleaseReport: HERE.release_report,
    reports.JudgedProviders: RELEASE / HERE.judged_providers.name,
    Answers: RELEASE / ANSWERS,
    Golden: RELEASE / GOLDEN,
    Pointer: HERE.pointer,
    State: state_file(Path(FOLDER)),
}
COMMANDS: dict[type[Report], str] = {State: "`monitor`"}  # of what belongs to no stage
ACTS = "`release`, `promote` and `rollback`"
PARTS = (
    *(reports.Hardware, reports.FlowRun, reports.PredictionSet, reports.ProviderReport),
    *(collect_report.LiveQuality, reports.Criterion, Comparison, Line),
    *(Judged, Accuracy, Event),
)


def page() -> str:
    """A table of the fields of each report, and of the objects in them."""
    comments = all_comments()
    parts = []
    for model, path in FILES.items():
        writer = written_by(path.as_posix()) or COMMANDS.get(model, ACTS)
        about = f"{model.__doc__} Written by {writer}."
        parts += [f"## {path.as_posix()}\n", f"{about}\n", _fields(model, comments)]
    for part in PARTS:
        parts += [f"## {part.__name__}\n", f"{part.__doc__}\n", _fields(part, comments)]
    return "\n".join(parts)


def all_comments() -> dict[tuple[str, str], str]:
    """The `#:` comments of all reports and their parts by (class, attribute)."""
    modules = {model.__module__ for model in (*FILES, *PARTS)}
    return {key: text for name in modules for key, text in attribute_comments(name).items()}


def _fields(model: type[BaseModel], comments: dict[tuple[str, str], str]) -> str:
    properties = model.model_json_schema()["properties"]
    meanings = {name: comments.get((model.__name__, name), "") for name in properties}
    if "schema_version" in meanings:
        meanings["schema_version"] = "version of the schema; readers refuse any other"
    rows = [
        [code(name), describe(schema), sentence(meanings[name])]
        for name, schema in properties.items()
    ]
    return table(["Field", "Type", "Meaning"], rows)
