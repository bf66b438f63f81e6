"""The `detect` stage: train the detector on training images and on images that show no class."""

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save

from pipeline.collection.mixing import training_images
from pipeline.config import Params
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import read_tensors, sha256, write_bytes
from pipeline.core.reports import DetectorReport
from pipeline.core.task import LabelledImages, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures
from pipeline.negatives.characters import TRAINING_FONTS
from pipeline.negatives.kinds import generate, printed_labels, training_kinds
from pipeline.training.detector import CLASS, NO_CLASS, build_detector
from pipeline.training.device import reuse_memory
from pipeline.training.network import count_parameters
from pipeline.training.trainer import NonFiniteLossError, Trainer


def run(workspace: Workspace, params: Params, task: Task) -> None:
    """Write artifacts/detector.safetensors, its report and a sheet of the generated images.

    Training takes the settings of `train` that `detect` does not have, so that images are
    distorted as the classifier knows them. Raises UserError if training diverges.
    """
    training = LabelledImages(**read_tensors(workspace.training_set))
    known = training_images(workspace.training_set, workspace.feedback)
    kinds, settings = training_kinds(task, training), params.detect
    negatives, numbers = generate(kinds, task, settings.negatives, settings.seed)
    printed = printed_labels(task, TRAINING_FONTS, settings.printed, settings.seed)
    images = np.concatenate([known.images, printed, negatives])
    labels = np.repeat([CLASS, NO_CLASS], [len(images) - len(negatives), len(negatives)])
    recipe = replace(
        params.train, seed=settings.seed, epochs=settings.epochs, validation_size=0, dropout=()
    )
    reuse_memory()
    try:
        trainer = Trainer(
            task, torch.from_numpy(images), torch.from_numpy(labels), recipe, build_detector
        )
        for epoch in trainer.run():
            last = epoch
            loss, accuracy = (epoch.figures[f"training_{name}"] for name in ("loss", "accuracy"))
            print(f"epoch {epoch.number}/{recipe.epochs}  loss {loss:.4f}, accuracy {accuracy:.2%}")
    except NonFiniteLossError as error:
        raise UserError(f"training diverged: {error}; lower train.peak_learning_rate") from error
    except ValueError as error:
        raise UserError(f"{workspace.params}: detect: {error}") from error
    write_bytes(workspace.detector, save(last.weights))
    sheet = figures.sample_sheet(negatives, numbers, list(kinds), title="Images that show no class")
    save_figure(sheet, workspace.detect_reports / "negatives.png")
    DetectorReport(
        detector_sha256=sha256(workspace.detector),
        data_sha256=sha256(workspace.training_set),
        parameters=count_parameters(trainer.network),
        device=trainer.device.type,
        images=len(known.images),
        printed=len(printed),
        negatives={name: int((numbers == n).sum()) for n, name in enumerate(kinds)},
        loss=loss,
        accuracy=accuracy,
    ).write(workspace.detector_report)
