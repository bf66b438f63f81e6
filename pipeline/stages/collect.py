"""The `collect` stage: labelled images from use, to train on and for the live test set.

It reads the journal of a service as it is now. DVC does not watch the journal, which grows with
every request: the stage runs again when somebody forces it. Nothing is read unless
`collect.journal` names a journal.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pipeline.collection.candidates import Candidates, Reason
from pipeline.collection.hashes import Images, digests
from pipeline.collection.known import KnownImages
from pipeline.collection.selection import Collected, Known, Rules, Selection, select
from pipeline.config import Collect
from pipeline.core.collect_report import CollectReport
from pipeline.core.figures import save_figure
from pipeline.core.files import read_tensors, sha256, write_bytes, write_csv
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.figures import Examples, behaviour_sheet

SHOWN = 20  # images of each line of the figure
COLUMNS = ("id", "fate", "label", "doubtful")  # of the table of images
TRAINING, LIVE = "training", "live test set"


def run(workspace: Workspace, params: Collect, task: Task) -> None:
    """Write data/feedback.safetensors, data/live.safetensors and reports/collect.

    UserError if `collect.journal` names a folder that is no journal.
    """
    journal = None if params.journal is None else workspace.root / params.journal
    candidates, foreign = _nothing(task), 0
    if journal is not None:
        candidates, foreign = read_candidates(journal, task)
    known = Known(
        test=KnownImages.read(workspace.test_hashes),
        training=np.concatenate(
            [
                digests(read_tensors(path)["images"])
                for path in (workspace.training_set, workspace.calibration_set)
            ]
        ),
    )
    rules = Rules(params.votes, params.cap_per_client, params.near, params.live_share)
    selection = select(candidates, task.labels, known, rules, share_of)
    write(workspace.feedback, selection.training, params.weight)
    write(workspace.live_set, selection.live)
    write_reports(workspace, params, task, selection, foreign)
    print(
        f"{len(candidates):,} images with votes: {len(selection.training.ids):,} to train on, "
        f"{len(selection.live.ids):,} in the live test set, "
        f"{len(selection.refused.ids):,} refused"
    )


def read_candidates(journal: Path, task: Task) -> tuple[Candidates, int]:
    """The images in a journal that have votes, and the number of those of another model or form.

    An image for which the model gave no numbers counts among the latter. UserError if the folder is
    no journal.
    """
    from pipeline.journal import reading
    from pipeline.journal.entry import form_of, pixels_of

    votes = reading.vote_history(journal)
    images: list[Images] = []
    probabilities: list[list[float]] = []
    ids: list[str] = []
    clients: list[str] = []
    foreign = 0
    columns = ["id", "model", "pixels", "probabilities", "client"]
    for batch in reading.entries(journal, ids={vote.entry for vote in votes}, columns=columns):
        rows = batch.select(["id", "model", "probabilities", "client"]).to_pylist()
        usable = [
            row["model"] == task.model
            and len(row["probabilities"]) == len(task.labels)
            and bool(np.isfinite(row["probabilities"]).all())
            for row in rows
        ]
        if form_of(batch.schema) != task.form.shape:
            usable = [False] * len(rows)
        else:
            images.append(pixels_of(batch)[np.array(usable, bool)])
        foreign += usable.count(False)
        for row in (row for row, use in zip(rows, usable, strict=True) if use):
            ids.append(row["id"])
            clients.append(row["client"])
            probabilities.append(row["probabilities"])
    if not ids:
        return _nothing(task), foreign
    known = {*ids}
    return (
        Candidates(
            ids,
            np.concatenate(images),
            np.array(probabilities, np.float32),
            clients,
            [vote for vote in votes if vote.entry in known],
        ),
        foreign,
    )


def share_of(identifier: str) -> float:
    """A number in 0..1 that depends on the id alone, whether or not it is in the random sample."""
    from pipeline.journal.ids import share

    return share(identifier, "live")


def write(path: Path, collected: Collected, weight: int | None = None) -> None:
    """Write images, labels and, if given, how often each image counts in an epoch."""
    content = {"images": np.ascontiguousarray(collected.images), "labels": collected.labels}
    if weight is not None:
        content["weights"] = np.full(len(collected.ids), weight, np.int64)
    write_bytes(path, save(content))


def write_reports(
    workspace: Workspace, params: Collect, task: Task, selection: Selection, foreign: int
) -> None:
    """Write counts, a table of all images with votes, and a sheet of images by their fate."""
    training, live, refused = selection.training, selection.live, selection.refused
    fates = [
        *(
            (i, TRAINING, task.labels[n])
            for i, n in zip(training.ids, training.labels, strict=True)
        ),
        *((i, LIVE, task.labels[n]) for i, n in zip(live.ids, live.labels, strict=True)),
        *((i, reason.value, "") for i, reason in zip(refused.ids, refused.reasons, strict=True)),
    ]
    reasons = Counter(refused.reasons)
    CollectReport(
        journal=params.journal,
        images=len(fates) + foreign,
        foreign=foreign,
        training=_by_class(training, task.labels),
        live=_by_class(live, task.labels),
        doubtful_live=len(selection.doubtful_live),
        refused={reason.value: reasons[reason] for reason in Reason},
        feedback_sha256=sha256(workspace.feedback),
        live_sha256=sha256(workspace.live_set),
    ).write(workspace.collect_report)
    doubtful = {*selection.doubtful_live}
    rows = [
        dict(zip(COLUMNS, (i, fate, label, int(i in doubtful)), strict=True))
        for i, fate, label in sorted(fates)
    ]
    write_csv(workspace.collected, rows, COLUMNS)
    groups = [(TRAINING, training.images), (LIVE, live.images)] + [
        (f"refused: {reason}", refused.images[[each is reason for each in refused.reasons]])
        for reason in Reason
    ]
    lines = [
        Examples(
            f"{title}, {len(images):,}", _filled(images, task), len(images) / max(1, len(fates))
        )
        for title, images in groups
    ]
    save_figure(behaviour_sheet(lines, "share of the images with votes"), workspace.collect_figure)


def _by_class(collected: Collected, names: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(collected.labels, minlength=len(names))
    return dict(zip(names, map(int, counts), strict=True))


def _filled(images: Images, task: Task) -> Images:
    """The first SHOWN of the images, followed by blank ones."""
    blank = np.zeros((SHOWN, *task.form.shape), np.uint8)
    return np.concatenate([images[:SHOWN], blank])[:SHOWN]


def _nothing(task: Task) -> Candidates:
    images = np.zeros((0, *task.form.shape), np.uint8)
    return Candidates([], images, np.zeros((0, len(task.labels)), np.float32), [], [])
