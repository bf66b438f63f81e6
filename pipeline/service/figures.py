"""The reports that the page shows, if they are about the model that is served."""

from pathlib import Path

import orjson

from pipeline.core.workspace import Workspace


def find(workspace: Workspace | None, name: str, model_sha256: str) -> Path | None:
    """The file of a figure; None if there is none, or if it is about another model."""
    if workspace is None:
        return None
    of_the_model = {
        workspace.metrics.name: workspace.metrics,
        **{
            figure: workspace.evaluation_reports / figure
            for figure in ("curves.png", "confusion.png", "misclassified.png")
        },
    }
    # of the network of eight weights
    path = workspace.backprop_reports / "loss.svg" if name == "loss.svg" else None
    if name in of_the_model and subject(workspace) == model_sha256:
        path = of_the_model[name]
    return path if path is not None and path.is_file() else None


def subject(workspace: Workspace) -> str | None:
    """The SHA-256 of the model that the reports are about now, if they say so."""
    try:
        content = orjson.loads(workspace.subject.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("model_sha256") if isinstance(content, dict) else None
