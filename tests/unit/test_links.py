"""Links from the workspace to MLflow, whatever other versions recorded."""

from pathlib import Path

import pytest

from pipeline.core.workspace import Workspace
from pipeline.tracking import Component, links
from tests.reports import edit, write_training


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a training."""
    workspace = Workspace(tmp_path)
    write_training(workspace, run_id="first")
    workspace.tracked.parent.mkdir()
    return workspace


@pytest.mark.parametrize(
    "other",
    [
        '{"audit": {"of": "x", "address": "y"}, "training": {"of": "first", "address": "z"}}',
        '{"release": null, "backprop": {"of": 1}, "training": {"of": "first", "address": "z"}}',
    ],
)
def test_links_recorded_by_another_version_are_tolerated(workspace: Workspace, other: str) -> None:
    """A flow reads the links at its end: it would fail after all its work."""
    workspace.tracked.write_text(other)
    assert links.addresses(workspace) == {"training": "z"}
    links.record(workspace, Component.TRAINING, "here")
    assert links.addresses(workspace)["training"].endswith("/#/here")


@pytest.mark.parametrize("recorded", ["[]", "[1, 2]", "7", "null", "{", '{"training": "z"}'])
def test_unreadable_links_are_ignored(workspace: Workspace, recorded: str) -> None:
    workspace.tracked.write_text(recorded)
    assert links.addresses(workspace) == {}


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_report_has_no_link(workspace: Workspace, text: str) -> None:
    workspace.tracked.write_text('{"training": {"of": "first", "address": "z"}}')
    workspace.training_report.write_text(text)
    assert links.addresses(workspace) == {}


def test_a_training_link_is_valid_for_the_same_run_only(workspace: Workspace) -> None:
    """The training report changes with each epoch."""
    links.record(workspace, Component.TRAINING, "runs/1")
    edit(workspace.training_report, status="unfinished")
    assert "training" in links.addresses(workspace)
    edit(workspace.training_report, run_id="second")
    assert links.addresses(workspace) == {}


def test_a_release_link_is_valid_for_the_same_file_only(workspace: Workspace) -> None:
    workspace.models.mkdir()
    workspace.released_model.write_bytes(b"a model")
    links.record(workspace, Component.RELEASE, "models/1")
    assert "release" in links.addresses(workspace)
    workspace.released_model.write_bytes(b"another")
    assert links.addresses(workspace) == {}


def test_links_use_public_addresses_and_components_are_independent(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    links.record(workspace, Component.TRAINING, "runs/1")
    workspace.backprop_reports.mkdir(parents=True)
    workspace.backprop_summary.write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000/")
    workspace.models.mkdir()
    workspace.released_model.write_bytes(b"a model")
    links.record(workspace, Component.RELEASE, "models/1")
    monkeypatch.setenv("PIPELINE_MLFLOW_URL", "https://me:secret@digits.example/")
    links.record(workspace, Component.BACKPROP, "runs/2")
    assert links.addresses(workspace) == {
        "training": "http://127.0.0.1:5000/#/runs/1",
        "backprop": "https://digits.example/#/runs/2",
        "release": "http://mlflow:5000/#/models/1",
    }
    workspace.backprop_summary.write_text('{"another": "outcome"}')
    assert "backprop" not in links.addresses(workspace)
