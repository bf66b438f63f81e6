"""Watching a journal: reads it, and writes monitor.json, report.html and metrics."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes, write_text
from pipeline.core.workspace import Workspace
from pipeline.monitoring import metrics
from pipeline.monitoring.baseline import Baseline, load_baseline
from pipeline.monitoring.state import Event, State, state_file
from pipeline.monitoring.watch import ENOUGH_LABELS, look

FOLDER = "reports/monitoring"  # by default, in the workspace
WINDOW = 500  # images, by default
REPORT, LOCK = "report.html", ".lock"


def monitor(
    workspace: Workspace,
    journal: Path,
    folder: Path | None = None,
    *,
    window: int = WINDOW,
    minutes: float | None = None,
    enough_labels: int = ENOUGH_LABELS,
    metrics_file: Path | None = None,
) -> State:
    """Read a journal once; judge the windows of the released model that have filled since.

    `minutes`: a window that has not filled after this time is judged as it is. Writes to `folder`,
    by default reports/monitoring in the workspace: the report if a window was judged, then the
    state, so that an interrupted run repeats its windows. UserError if another process watches with
    the same folder, or if something is missing.
    """
    folder = folder or workspace.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            baseline = load_baseline(workspace, workspace.released_model, window, folder)
            patience = None if minutes is None else timedelta(minutes=minutes)
            agreeing = load_params(workspace.params).collect.votes
            state = _monitor(journal, folder, baseline, patience, enough_labels, agreeing)
    except Timeout as taken:
        raise UserError(
            f"another process watches with {folder}: wait until it ends, or use another --report"
        ) from taken
    if metrics_file:
        write_bytes(metrics_file, metrics.text(state))
    return state


def _monitor(
    journal: Path,
    folder: Path,
    baseline: Baseline,
    patience: timedelta | None,
    enough_labels: int,
    agreeing: int,
) -> State:
    path = state_file(folder)
    previous = State.read(path) if path.exists() else None
    state, shown = look(
        journal,
        baseline,
        previous,
        enough_labels=enough_labels,
        agreeing=agreeing,
        patience=patience,
    )
    if shown is not None:
        from pipeline.monitoring.report import report  # slow to import

        write_text(folder / REPORT, report(state, baseline, shown))
    state.write(path)
    return state


def mark_sent(folder: Path, events: Sequence[Event]) -> None:
    """Note in a folder's state that these events have been sent."""
    with FileLock(folder / LOCK):
        path = state_file(folder)
        State.read(path).with_sent({event.id for event in events}).write(path)
