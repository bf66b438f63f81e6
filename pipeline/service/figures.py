"""The reports that the page shows, if they describe the served model."""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.reports import Metrics, Subject
from pipeline.core.workspace import Workspace

OF_THE_MODEL = (
    *("curves.png", "confusion.png", "misclassified.png", "distortions.png"),
    "negatives.png",
)
OF_BACKPROP = "loss.svg"  # the 2-2-2 network's, whichever model is served


def find_figure(workspace: Workspace | None, name: str, model_sha256: str) -> Path | None:
    """The file of a figure; None if it is missing or describes another model."""
    if workspace is None:
        return None
    if name == OF_BACKPROP:
        path = workspace.backprop_reports / name
    elif name in (*OF_THE_MODEL, workspace.metrics.name):
        path = workspace.evaluation_reports / name
        try:
            if Subject.read(workspace.subject).model_sha256 != model_sha256:
                return None
            if path == workspace.metrics:
                Metrics.read(path)
        except UserError:  # missing, broken or of an older schema version
            return None
    else:
        return None
    return path if path.is_file() else None
