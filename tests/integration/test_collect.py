"""The commands `collect` and `train` on the journal of a service, in processes."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pipeline.core.collect_report import CollectReport
from pipeline.core.files import sha256
from pipeline.core.reports import TrainingReport
from pipeline.core.workspace import Workspace
from tests.checkout import python
from tests.digits import make_digits
from tests.journals import Vote, make_journal
from tests.training_sets import collecting_workspace, set_journal

REVIEWED = 60  # images


def test_reviewed_images_are_in_the_next_training(tmp_path: Path) -> None:
    workspace = with_journal(tmp_path)
    said = python(tmp_path, "-m", "pipeline", "collect")
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    report = CollectReport.read(workspace.collect_report)
    collected = sum(report.training.values())
    assert collected + sum(report.live.values()) == REVIEWED - sum(report.refused.values())
    assert collected > REVIEWED / 2
    assert report.refused["test image"] >= 1

    said = python(tmp_path, "-m", "pipeline", "train")
    assert said.returncode == 0, said.stderr
    training = TrainingReport.read(workspace.training_report)
    assert training.feedback_sha256 == sha256(workspace.feedback)
    mixed = workspace.weights.read_bytes()
    workspace.feedback.unlink()
    assert python(tmp_path, "-m", "pipeline", "train").returncode == 0
    assert workspace.weights.read_bytes() != mixed


def test_a_wrong_path_of_the_journal_is_one_line(tmp_path: Path) -> None:
    workspace = with_journal(tmp_path)
    set_journal(workspace, "elsewhere")
    said = python(tmp_path, "-m", "pipeline", "collect")
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert line.startswith("error: ")
    assert "elsewhere" in line
    assert not workspace.feedback.exists()


def with_journal(folder: Path) -> Workspace:
    """A workspace with small sets and a journal of reviewed digits; the first is a test image."""
    workspace = collecting_workspace(folder)
    test = load_file(workspace.test_set)
    images, labels = make_digits(REVIEWED, seed=5)
    images[0], labels[0] = test["images"][0], test["labels"][0]
    votes: list[Vote] = [(n, "reviewer:r", str(label)) for n, label in enumerate(labels)]
    make_journal(folder / "journal", images, labels.astype(np.int64), votes)
    return workspace
