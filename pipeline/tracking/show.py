"""`make mlflow`: serves MLflow's pages for the local store of this workspace.

The port on 127.0.0.1 is PORT, by default 5000.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from pipeline.core import variables
from pipeline.core.errors import UserError, exit_on_failure
from pipeline.core.workspace import Workspace
from pipeline.tracking import store


@exit_on_failure()
def main() -> None:
    """Print the URLs of the pages, then replace this process with MLflow's server."""
    port = variables.PORT.get() or "5000"
    if find_spec("mlflow") is None:  # importing it takes seconds
        raise ModuleNotFoundError(name="mlflow")
    uri = store.address(Workspace.find().root, store.LOCAL)
    database = store.database(uri)
    assert database is not None
    try:
        store.correct_addresses(uri)
        for what, page in _pages(database):
            print(f"{what}: http://127.0.0.1:{port}/#/{page}", flush=True)
    except sqlite3.DatabaseError as error:
        raise UserError(f"{database} cannot be read: {error}") from error
    options = {
        "--backend-store-uri": uri,
        "--default-artifact-root": database.with_name(store.ARTIFACTS).as_uri(),
        "--port": port,
        "--uvicorn-opts": "--log-level warning",
    }
    settings = {
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        variables.MLFLOW_TRACKING_URI.name: uri,
        "PYTHONWARNINGS": "ignore",
    }
    words = [word for option in options.items() for word in option]
    server = [sys.executable, "-m", "mlflow", "server", *words]
    os.execve(sys.executable, server, os.environ | settings)  # noqa: S606


def _pages(database: Path) -> Iterator[tuple[str, str]]:
    """Titles and paths of the pages worth opening, which MLflow's home page does not show."""
    if not database.exists():
        yield "nothing tracked yet", ""
        return
    with closing(sqlite3.connect(database)) as connection:
        for number, name in connection.execute(
            "SELECT experiment_id, name FROM experiments AS e WHERE lifecycle_stage = 'active' "
            "AND EXISTS (SELECT * FROM runs AS r WHERE r.experiment_id = e.experiment_id)"
        ):
            yield f"runs of {name}", f"experiments/{number}/runs"
        yield "models", "models"


if __name__ == "__main__":
    main()
