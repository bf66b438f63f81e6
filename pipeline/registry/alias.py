"""The alias that names the model in use, `champion`: who may move it, and who is told."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.registry import promotion
from pipeline.registry.lookup import MODEL_TAG, download, read_signature

if TYPE_CHECKING:  # slow to import
    from mlflow import MlflowClient

ALIAS = "champion"


def promote(
    workspace: Workspace, client: "MlflowClient", name: str, version: str, digest: str
) -> bool:
    """Let the alias point to this version if it points to what its release replaced.

    Without a pending release of it, only the first version of all gets the alias.
    """
    replaced = promotion.replaced_by(workspace, digest)
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    if champion is None:
        may = replaced is not None or len(client.search_model_versions(f"name='{name}'")) == 1
    elif str(champion) == version:
        may = False
    else:
        current = client.get_model_version(name, str(champion)).tags.get(MODEL_TAG)
        may = current in (replaced or ())
        if replaced is not None and not may:
            print(
                f"warning: {name}@{ALIAS} stays at version {champion}, which is not the "
                f"model that this release replaced; {_how_to_move(name, version)}",
                file=sys.stderr,
            )
    if may:
        client.set_registered_model_alias(name, ALIAS, version)
    promotion.clear(workspace, digest)
    return may


def warn_of_unsigned_champion(
    workspace: Workspace, client: "MlflowClient", name: str, version: str
) -> None:
    """Warn if the alias is at another version than this one, and that has no signature.

    So it is where an older version of the pipeline registered it, and this one got its release
    from elsewhere, such as by `git pull`.
    """
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    if champion is None or str(champion) == version:
        return
    with tempfile.TemporaryDirectory() as folder, suppress(UserError):  # its file may be gone
        path, _ = download(f"models:/{name}/{champion}", Path(folder), workspace)
        try:
            read_signature(path.read_bytes())
        except ValueError as error:
            print(
                f"warning: {name}@{ALIAS} is at version {champion}, which this version of the "
                f"pipeline cannot use: {error}; {_how_to_move(name, version)}",
                file=sys.stderr,
            )


def _how_to_move(name: str, version: str) -> str:
    return (
        f"to move it to version {version}: MlflowClient()."
        f"set_registered_model_alias('{name}', '{ALIAS}', '{version}')"
    )
