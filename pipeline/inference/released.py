"""Which file is the released model: that of the workspace, or else that of this installation."""

from contextlib import suppress
from pathlib import Path

import pipeline
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

INSTALLED = Path(pipeline.__file__).parent / "released"  # where the package has models/


def released_model() -> Path:
    """The released model of the workspace around the current folder, if there is one.

    Otherwise that of the package that is installed, or of the checkout with this code. Other
    projects have a params.yaml and models/ too: a release is what has its checksums beside it.
    """
    workspace = None
    with suppress(UserError):
        workspace = Workspace.find()
    if workspace and workspace.checksums.exists():
        return workspace.released_model
    if installed := sorted(INSTALLED.glob("*.onnx")):
        return installed[0]
    return Workspace(Path(pipeline.__file__).parents[1]).released_model
