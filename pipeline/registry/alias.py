"""MLflow's alias `champion` follows the pointer, by compare-and-set on the ledger.

The registered model records in a tag which line of the ledger its alias follows. The alias moves
only if this ledger contains that line: then this checkout knows every act that the server has seen.
An older checkout does not contain it, and cannot move the alias back.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core.workspace import Workspace
from pipeline.registry.ledger import Line
from pipeline.registry.lookup import MODEL_TAG
from pipeline.registry.releases import Releases

if TYPE_CHECKING:  # slow to import
    from mlflow import MlflowClient

ALIAS = "champion"
LINE_TAG = "ledger"  # of the registered model: the SHA-256 of the line that its alias follows


def follow(workspace: Workspace, client: "MlflowClient") -> bool:
    """Move the alias to the champion of the workspace; returns whether it moved.

    All releases must be registered. If the server has seen acts that this ledger does not contain,
    or another program has moved the alias, it stays, with a warning.
    """
    releases = Releases.of(workspace)
    champion = releases.champion()
    if champion is None or not releases.moves:
        return False
    name, last = champion.name, releases.moves[-1]
    query = f"name = '{name}' AND tags.{MODEL_TAG} = '{champion.sha256}'"
    versions = client.search_model_versions(query, order_by=["version_number ASC"])
    if not versions:
        return False
    version = str(versions[0].version)
    registered = client.get_registered_model(name)
    current, seen = registered.aliases.get(ALIAS), registered.tags.get(LINE_TAG)
    digest = None
    if current is not None:
        digest = client.get_model_version(name, str(current)).tags.get(MODEL_TAG)
    if problem := _conflict(releases.moves, seen, digest, there=current is not None):
        print(
            f"warning: {name}@{ALIAS} does not follow release {champion.number}: {problem}; to "
            f"move it nevertheless: MlflowClient()."
            f"set_registered_model_alias('{name}', '{ALIAS}', '{version}')",
            file=sys.stderr,
        )
        return False
    if digest != champion.sha256:
        client.set_registered_model_alias(name, ALIAS, version)
    if seen != last.digest:
        client.set_registered_model_tag(name, LINE_TAG, last.digest)
    return digest != champion.sha256


def _conflict(
    moves: Sequence[Line], seen: str | None, digest: str | None, *, there: bool
) -> str | None:
    """Why the alias, which names the model with this digest, must not move; None if it may.

    `there`: whether there is an alias.
    """
    known = {line.digest: number for number, line in enumerate(moves)}
    if seen is not None and seen not in known:
        return "it follows a ledger with acts that are missing here: run `git pull`"
    later = moves[known[seen] :] if seen is not None else moves
    expected = {line.sha256 for line in later}  # a move of the alias may lack its tag
    if seen is None:
        expected |= {line.replaces for line in moves}
    return None if not there or digest in expected else "another program moved it there"
