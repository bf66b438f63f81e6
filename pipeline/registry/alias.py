"""The alias `champion`, which names the model in use: when it moves, and when it warns instead."""

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
    """Move the alias to this version if it names a model that the release replaced.

    If no release of the model is pending, only the very first version gets the alias. Returns
    whether the alias moved.
    """
    replaced = promotion.replaced_by(workspace, digest)
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    if champion is None:
        moves = replaced is not None or len(client.search_model_versions(f"name='{name}'")) == 1
    elif str(champion) == version:
        moves = False
    else:
        current = client.get_model_version(name, str(champion)).tags.get(MODEL_TAG)
        moves = current in (replaced or ())
        if replaced is not None and not moves:
            print(
                f"warning: {name}@{ALIAS} stays at version {champion}, which is not the "
                f"model that this release replaces; {_how_to_move(name, version)}",
                file=sys.stderr,
            )
    if moves:
        client.set_registered_model_alias(name, ALIAS, version)
    promotion.clear(workspace, digest)
    return moves


def warn_of_unsigned_champion(
    workspace: Workspace, client: "MlflowClient", name: str, version: str
) -> None:
    """Warn if the alias names another version whose file has no signature.

    This happens if an older version of the pipeline registered that model, and this checkout got
    its release from elsewhere, for example from `git pull`.
    """
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    if champion is None or str(champion) == version:
        return
    with tempfile.TemporaryDirectory() as folder, suppress(UserError):  # the file may be gone
        path, _ = download(f"models:/{name}/{champion}", Path(folder), workspace)
        try:
            read_signature(path.read_bytes())
        except ValueError as error:
            print(
                f"warning: {name}@{ALIAS} names version {champion}, which this version of the "
                f"pipeline cannot use: {error}; {_how_to_move(name, version)}",
                file=sys.stderr,
            )


def _how_to_move(name: str, version: str) -> str:
    return (
        f"to move it to version {version}: MlflowClient()."
        f"set_registered_model_alias('{name}', '{ALIAS}', '{version}')"
    )
