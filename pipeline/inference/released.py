"""Which file is the released model: that of the workspace, or else that of this installation."""

from pathlib import Path

import pipeline
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace

INSTALLED = Path(pipeline.__file__).parent / "released"  # where the package has models/


def released_model() -> Path:
    """The released model of the workspace around the current folder, if there is one.

    Otherwise that of the package that is installed, or of the checkout with this code.
    """
    checkout = Workspace(Path(pipeline.__file__).parents[1])
    try:
        found = Workspace.find().released_model
    except UserError:
        found = checkout.released_model
    installed = sorted(INSTALLED.glob("*.onnx"))
    return next(
        (path for path in (found, *installed, checkout.released_model) if path.exists()), found
    )
