"""The location of a workspace's MLflow store."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from pipeline.core.workspace import Workspace
from pipeline.tracking.store import address, database

NAME = "MLFLOW_TRACKING_URI"


@pytest.mark.parametrize("named", [None, "", "sqlite:///mlflow.db", "sqlite:///runs/all.db"])
@pytest.mark.parametrize("folder", ["project", "50%25 of a ?"])
def test_a_relative_store_is_resolved_against_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, folder: str
) -> None:
    root = tmp_path / folder
    monkeypatch.delenv(NAME, raising=False)
    if named is not None:
        monkeypatch.setenv(NAME, named)
    uri = address(root)
    expected = root / (named or "sqlite:///mlflow.db").removeprefix("sqlite:///")
    assert database(uri) == expected
    assert make_url(uri).database == str(expected)  # as MLflow opens it


def test_the_store_does_not_depend_on_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise artifact addresses would contain a folder that can be deleted."""
    monkeypatch.delenv(NAME, raising=False)
    (tmp_path / "params.yaml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert address(Workspace.find().root) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("named", ["sqlite:////srv/mlflow.db", "http://127.0.0.1:5000"])
def test_an_absolute_store_is_used_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv(NAME, named)
    assert address(tmp_path) == named
    assert database(named) == (Path("/srv/mlflow.db") if "sqlite" in named else None)


def test_an_experiment_uses_the_permanent_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own folder is removed when it ends."""
    project = tmp_path / "50%25 of a ?"
    copy = project / ".dvc/tmp/exps/standalone/tmp1"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.setenv(NAME, "sqlite:///mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    assert database(address(copy)) == project / "mlflow.db"
