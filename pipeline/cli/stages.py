"""The stages: one command each, which locks the workspace while it runs."""

from collections.abc import Callable
from contextlib import ExitStack

import typer

from pipeline.cli.app import STAGES, app, collect_garbage_rarely, find_workspace, program_name
from pipeline.config import Params, load_params
from pipeline.core import environment
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace

Run = Callable[[Workspace, Params], None]


def stage(run: Run) -> Run:
    """Register a stage's command, which locks the workspace unless a flow run has done so."""

    def command(context: typer.Context) -> None:
        collect_garbage_rarely()
        workspace = find_workspace(context)
        workspace.check_places()
        params = load_params(workspace.params)
        with ExitStack() as stack:
            if environment.flow_run() is None:
                stack.enter_context(workspace.lock(f"`{program_name()} {run.__name__}`"))
            run(workspace, params)

    app.command(run.__name__, help=run.__doc__, rich_help_panel=STAGES)(command)
    return run


@stage
def backprop(workspace: Workspace, params: Params) -> None:
    """Train a 2-2-2 network with hand-derived gradients and explain it.

    Requires neither data nor PyTorch. Writes every number of every iteration, the figures and a
    live spreadsheet, BackPropagation.xlsx, to reports/backprop. The section backprop of
    params.yaml holds all settings.
    """
    from pipeline.stages import backprop

    backprop.run(workspace, params.backprop)


@stage
def fetch(workspace: Workspace, params: Params) -> None:
    """Download the data set's published files into data/raw.

    Tries the mirrors of fetch.mirrors in params.yaml in order; each is a folder or an http(s)
    URL. Keeps a file only if its SHA-256 is the one in fetch.files.
    """
    from pipeline.stages import fetch

    fetch.run(workspace, params.fetch)


@stage
def prepare(workspace: Workspace, params: Params) -> None:
    """Validate the files in data/raw and decode them.

    Writes data/train.safetensors, data/calibration.safetensors and data/test.safetensors (uint8
    images [N, H, W] and labels [N]), and a sheet of sample images and the class counts to
    reports/prepare. The calibration images are drawn from the published training set. Hashes of the
    test images go to data/test-hashes.safetensors.
    """
    from pipeline.stages import prepare

    prepare.run(workspace, params.prepare, load_task(params.task, workspace.root))


@stage
def collect(workspace: Workspace, params: Params) -> None:
    """Collect labelled images from the journal of a service.

    Writes those to train on to data/feedback.safetensors and those to test on to
    data/live.safetensors, and what became of each image to reports/collect. Test images, copies
    and doubtful labels are refused. Collects nothing unless collect.journal in params.yaml names a
    journal.
    """
    from pipeline.stages import collect

    collect.run(workspace, params.collect, load_task(params.task, workspace.root))


@stage
def train(workspace: Workspace, params: Params) -> None:
    """Train the network on data/train.safetensors and data/feedback.safetensors alone.

    An interrupted run resumes after its last finished epoch and ends with the same weights.
    Ctrl-C stops it within a batch. The section train of params.yaml holds all settings.
    """
    from pipeline.stages import train

    workspace.require_writable()  # a release that cannot be written must not cost a training
    train.run(workspace, params.train, load_task(params.task, workspace.root))


@stage
def detect(workspace: Workspace, params: Params) -> None:
    """Train the detector, which tells what shows none of the classes.

    Its training images are those of data/train.safetensors and generated ones: other characters,
    scribbles, noise. Writes the weights, and a sheet of generated images to reports/detect.
    """
    from pipeline.stages import detect

    detect.run(workspace, params, load_task(params.task, workspace.root))


@stage
def calibrate(workspace: Workspace, params: Params) -> None:
    """Set the thresholds of novelty and of the prediction sets.

    Takes them from data/calibration.safetensors, on which no network was trained, and writes them
    to reports/calibration.json.
    """
    from pipeline.stages import calibrate

    calibrate.run(workspace, params.calibrate, load_task(params.task, workspace.root))


@stage
def export(workspace: Workspace, params: Params) -> None:
    """Export classifier and detector to ONNX and compare the file with PyTorch.

    Writes artifacts/model.onnx, which takes raw uint8 images, and reports/export.json.
    """
    from pipeline.stages import export

    export.run(workspace, params.export, load_task(params.task, workspace.root))


@stage
def evaluate(workspace: Workspace, params: Params) -> None:
    """Measure the exported model on the test set with ONNX Runtime.

    Writes metrics, behaviour on changed images, speed, training curves, the confusion matrix and
    the misclassified images to reports/evaluation.
    """
    from pipeline.stages import evaluate

    task = load_task(params.task, workspace.root)
    evaluate.run(workspace, params.evaluate, task)


@stage
def gate(workspace: Workspace, params: Params) -> None:
    """Check the reports against the release criteria.

    The section gate of params.yaml holds the criteria. Writes their table to reports/gate.md, and
    exits with status 1 if any criterion fails.
    """
    from pipeline.stages import gate

    gate.run(workspace, params.gate)


@stage
def release(workspace: Workspace, params: Params) -> None:
    """Register the model that passed the gate, and make it the champion if the rule allows that.

    Exits with status 1 if the gate refused the model, or if it is inferior to the champion or to
    the best release. A model that cannot be compared, or that follows a rollback, is registered and
    not promoted: see `promote`. The section release of params.yaml holds the rule.
    """
    from pipeline.stages import release

    release.run(workspace, params, load_task(params.task, workspace.root))
