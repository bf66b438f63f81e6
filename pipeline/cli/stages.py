"""The stages: a command for each, which locks the workspace while it runs."""

from collections.abc import Callable
from contextlib import ExitStack

import typer

from pipeline.cli.app import STAGES, app, find_workspace
from pipeline.config import Params, load_params
from pipeline.core import environment
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace

Run = Callable[[Workspace, Params], None]


def stage(run: Run) -> Run:
    """Register a stage's command, which locks the workspace unless a flow run has done so."""

    def command(context: typer.Context) -> None:
        workspace = find_workspace(context)
        workspace.check_places()
        params = load_params(workspace.params)
        with ExitStack() as stack:
            if environment.flow_run() is None:
                stack.enter_context(workspace.lock(f"`python -m pipeline {run.__name__}`"))
            run(workspace, params)

    app.command(run.__name__, help=run.__doc__, rich_help_panel=STAGES)(command)
    return run


@stage
def backprop(workspace: Workspace, params: Params) -> None:
    """Train a 2-2-2 network by hand-derived gradients and explain it.

    Requires neither data nor torch. Writes every number of every iteration, figures and a
    spreadsheet that computes, BackPropagation.xlsx, to reports/backprop. All settings:
    params.yaml, backprop.
    """
    from pipeline.stages import backprop

    backprop.run(workspace, params.backprop)


@stage
def fetch(workspace: Workspace, params: Params) -> None:
    """Fetch the published files of the data set into data/raw.

    The mirrors in params.yaml, fetch.mirrors, are tried in order: folders and http(s) addresses.
    A file is kept only if its SHA-256 is the one in fetch.files.
    """
    from pipeline.stages import fetch

    fetch.run(workspace, params.fetch)


@stage
def prepare(workspace: Workspace, params: Params) -> None:
    """Check the files in data/raw and decode them.

    Writes data/train.safetensors and data/test.safetensors (uint8 images [N, H, W] and labels
    [N]), a sheet of sample images and the class counts in reports/prepare.
    """
    from pipeline.stages import prepare

    prepare.run(workspace, params.prepare, load_task(params.task, workspace.root))


@stage
def train(workspace: Workspace, params: Params) -> None:
    """Train the network on data/train.safetensors alone.

    An interrupted training resumes after its last finished epoch and ends in the same weights.
    Ctrl-C stops it within a batch. All settings: params.yaml, train.
    """
    from pipeline.stages import train

    train.run(workspace, params.train, load_task(params.task, workspace.root))


@stage
def export(workspace: Workspace, params: Params) -> None:
    """Export the weights to ONNX and compare the file with torch.

    Writes artifacts/model.onnx, which takes raw uint8 images, and reports/export.json.
    """
    from pipeline.stages import export

    export.run(workspace, params.export, load_task(params.task, workspace.root))


@stage
def evaluate(workspace: Workspace, params: Params) -> None:
    """Measure the exported file on the test set with ONNX Runtime.

    Writes metrics, speed, curves, confusion matrix and misclassified images to
    reports/evaluation.
    """
    from pipeline.stages import evaluate

    evaluate.run(workspace, params.evaluate, load_task(params.task, workspace.root))


@stage
def gate(workspace: Workspace, params: Params) -> None:
    """Judge the reports by the criteria in params.yaml, gate.

    Writes the table of criteria to reports/gate.md. Exit status 1 if any of them fails.
    """
    from pipeline.stages import gate

    gate.run(workspace, params.gate)


@stage
def release(workspace: Workspace, params: Params) -> None:
    """Release the model that passed the gate: into models/ and to MLflow.

    Exit status 1, and nothing changes, if the gate refused it or if the released model is
    significantly better.
    """
    from pipeline.stages import release

    release.run(workspace, params, load_task(params.task, workspace.root))
