"""Finds the released model: in the workspace or, failing that, in this installation."""

from contextlib import suppress
from pathlib import Path

import pipeline
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

INSTALLED = Path(pipeline.__file__).parent / "released"  # the wheel's copy of models/


def released_model() -> Path:
    """The path of the released model.

    It is in the workspace around the current folder if models/ there contains SHA256SUMS: other
    projects have a params.yaml and models/ too. Otherwise it is in the installed package, or in the
    checkout that contains this code.
    """
    workspace = None
    with suppress(UserError):
        workspace = Workspace.find()
    if workspace and workspace.checksums.exists():
        return workspace.released_model
    if installed := sorted(INSTALLED.glob("*.onnx")):
        return installed[0]
    return Workspace(Path(pipeline.__file__).parents[1]).released_model
