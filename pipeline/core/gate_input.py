"""The reports that the gate judges. They need not belong together: that is one of its criteria."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.core.collect_report import LiveReport
from pipeline.core.errors import UserError
from pipeline.core.report_file import OtherVersionError, Report
from pipeline.core.reports import Behaviour, ExportReport, Metrics, Subject
from pipeline.core.snapshot import at_one_moment, report_digests
from pipeline.core.workspace import Workspace

R = TypeVar("R", bound=Report)


@dataclass(frozen=True)
class GateInput:
    """What the gate judges. A missing or broken report is None, and `problems` says why."""

    export: ExportReport | None
    subject: Subject | None
    metrics: Metrics | None
    behaviour: Behaviour | None
    live: LiveReport | None
    sha256: Mapping[str, str]  # of all reports on the model, by path
    problems: tuple[str, ...] = ()


def read_gate_input(workspace: Workspace) -> GateInput:
    """Read what the gate judges. Consistency is not required: it is one of the gate's criteria.

    UserError if a report has another schema version: its values cannot be read.
    """

    def read() -> GateInput:
        problems: list[str] = []

        def attempt(kind: type[R], path: Path) -> R | None:
            try:
                return kind.read(path)
            except OtherVersionError:
                raise
            except (UserError, OSError) as error:
                problems.append(str(error))
                return None

        return GateInput(
            export=attempt(ExportReport, workspace.export_report),
            subject=attempt(Subject, workspace.subject),
            metrics=attempt(Metrics, workspace.metrics),
            behaviour=attempt(Behaviour, workspace.behaviour),
            live=attempt(LiveReport, workspace.live_report),
            sha256=report_digests(workspace),
            problems=tuple(problems),
        )

    return at_one_moment(workspace, read)
