"""The figures and metrics that the page shows: a model's own, never those of another."""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.reports import Metrics, Subject
from pipeline.core.workspace import Workspace
from pipeline.registry.folder import FIGURES, METRICS
from pipeline.service.pool import ServedModel

OF_BACKPROP = "loss.svg"  # the 2-2-2 network's, whichever model is served


def find_figure(workspace: Workspace | None, name: str, model: ServedModel) -> Path | None:
    """The file of a figure of this model; None if there is none.

    Those of a release are in its folder. The workspace's reports belong to a model without a number
    if they name it as their subject.
    """
    if name == OF_BACKPROP:
        path = None if workspace is None else workspace.backprop_reports / name
    elif name not in (*FIGURES, METRICS):
        return None
    elif model.folder is not None:
        path = model.folder / name
    else:
        path = _report(workspace, name, model.sha256)
    try:
        if path is not None and name == METRICS:
            Metrics.read(path)
    except UserError:  # missing, broken or of an older schema version
        return None
    return path if path is not None and path.is_file() else None


def _report(workspace: Workspace | None, name: str, model_sha256: str) -> Path | None:
    """A report of the workspace on this model."""
    if workspace is None:
        return None
    try:
        if Subject.read(workspace.subject).model_sha256 != model_sha256:
            return None
    except UserError:
        return None
    return workspace.evaluation_reports / name
