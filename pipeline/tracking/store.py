"""MLflow's store: a server, or a SQLite database that outlives DVC experiments and can be moved.

A SQLite store keeps its artifacts in mlartifacts/ next to the database, which records their
absolute addresses. If both have been moved or copied, these addresses still name the old folder, so
they are corrected before any access.
"""

import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import filelock

from pipeline.core.environment import lasting_folder
from pipeline.core.errors import UserError
from pipeline.core.variables import MLFLOW_EXPERIMENT_NAME, MLFLOW_TRACKING_URI
from pipeline.core.workspace import Workspace

if TYPE_CHECKING:  # slow to import
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
LOCAL = MLFLOW_TRACKING_URI.default
ARTIFACTS = "mlartifacts"
ADDRESSES = [  # tables and their columns of addresses
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
]


def address(root: Path, named: str | None = None) -> str:
    """The tracking URI of a workspace: `named`, MLFLOW_TRACKING_URI, or else the local store.

    A relative SQLite path is relative to `root`. In a DVC experiment, whose folder is temporary, it
    is relative to the workspace that started the experiment.
    """
    uri = named or MLFLOW_TRACKING_URI.get() or LOCAL
    path = uri.removeprefix(SQLITE)
    if path == uri or path.startswith("/"):
        return uri
    folder = os.path.normpath(lasting_folder(root))  # the root may contain ".."
    return f"{SQLITE}{quote(folder)}/{path}"


def database(uri: str) -> Path | None:
    """The path of the store's database; None if the store is a server."""
    if not uri.startswith(SQLITE):
        return None
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0]))


@contextmanager
def connect(workspace: Workspace) -> Iterator["MlflowClient"]:
    """A client for the workspace's store, locked against other processes of this checkout.

    Corrects the addresses of a store that has moved. MLflow logs only warnings.
    """
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    lock = lasting_folder(workspace.root) / workspace.name(workspace.tracking_lock)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock, timeout=60):
        uri = address(workspace.root)
        correct_addresses(uri)
        with _environment(uri):
            yield MlflowClient(uri)


@contextmanager
def _environment(uri: str) -> Iterator[None]:
    """Name the store in the environment too: MLflow's SQLite store reads it there."""
    name, before = MLFLOW_TRACKING_URI.name, MLFLOW_TRACKING_URI.get()
    os.environ[name] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def experiment_name(model: str) -> str:
    """The experiment of a model's trainings and releases, by default the model's name."""
    return MLFLOW_EXPERIMENT_NAME.get() or model


def experiment_id(client: "MlflowClient", name: str) -> str:
    """The id of the experiment with this name, created if missing and restored if deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        place = database(client.tracking_uri)  # a server chooses the location itself
        location = place.with_name(ARTIFACTS).as_uri() if place else None
        try:
            return str(client.create_experiment(name, location))
        except Exception:  # another checkout may have created it just now
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        print(f"restored MLflow's experiment {name}, which was deleted", file=sys.stderr)
    return str(found.experiment_id)


def correct_addresses(uri: str) -> None:
    """If a store was moved or copied, make it use the artifacts next to it, and print a line.

    UserError if it was copied without its artifacts: it would add to those of the original.
    """
    place = database(uri)
    if place is None or not place.exists():
        return
    here = place.with_name(ARTIFACTS)
    with closing(sqlite3.connect(place, timeout=30)) as store:
        for address in _folders(store):
            is_uri = address.startswith("file://")
            folder = Path(unquote(address.removeprefix("file://")) if is_uri else address)
            if os.path.realpath(folder) == os.path.realpath(here):
                continue
            if here.exists() or not os.access(folder, os.F_OK):
                try:
                    _replace(store, address, here.as_uri() if is_uri else str(here))
                except sqlite3.OperationalError as error:
                    raise UserError(
                        f"{place} has moved from {folder.parent}, but the addresses in it cannot "
                        f"be corrected: {error}"
                    ) from error
                print(
                    f"{place} has moved from {folder.parent}: corrected the addresses in it",
                    file=sys.stderr,
                )
            elif os.access(folder.with_name(place.name), os.F_OK):
                raise UserError(
                    f"{place} is a copy without its artifacts: copy {folder} to {here}, "
                    f"or remove {place.name}"
                )


def _folders(store: sqlite3.Connection) -> list[str]:
    """The addresses of the experiments' folders named mlartifacts, as stored."""
    tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if ("experiments",) not in tables:  # nothing has been written yet
        return []
    rows = store.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    found = set()
    for (address,) in rows:
        folder, _, name = (address or "").rstrip("/").rpartition("/")
        if name.isdigit():  # the subfolder that `make mlflow` creates for this experiment's id
            name = folder.rpartition("/")[2]
        else:
            folder = f"{folder}/{name}"
        if name == ARTIFACTS and folder.startswith(("/", "file:///")):
            found.add(folder)
    return sorted(found)


def _replace(store: sqlite3.Connection, old: str, new: str) -> None:
    with store:
        for table, column in ADDRESSES:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - constants
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
