"""prepare: the published files, decoded and checked, as one safetensors file per set."""

import numpy as np
from safetensors.numpy import save

from pipeline.config import Prepare
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import write_bytes, write_csv
from pipeline.core.task import LabelledImages, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures


def run(workspace: Workspace, params: Prepare, task: Task) -> None:
    """Write both sets, a sheet of sample images and the class counts."""
    training, test = task.read(workspace.raw)
    check(training, params.training_images, "training", task)
    check(test, params.test_images, "test", task)
    write_bytes(workspace.training_set, save(training._asdict()))
    write_bytes(workspace.test_set, save(test._asdict()))

    sheet = figures.sample_sheet(*training, task.labels)
    save_figure(sheet, workspace.prepare_reports / "samples.png")
    counts = [
        {
            "label": label,
            "training_images": int((training.labels == number).sum()),
            "test_images": int((test.labels == number).sum()),
        }
        for number, label in enumerate(task.labels)
    ]
    write_csv(workspace.prepare_reports / "classes.csv", counts)
    print(f"{len(training.images):,} training and {len(test.images):,} test images, checked")


def check(data: LabelledImages, count: int, name: str, task: Task) -> None:
    """UserError unless the set has so many images of the task's form, each with a known label."""
    images, labels = data
    expected = (count, task.form.height, task.form.width)
    if images.shape != expected or labels.shape != expected[:1]:
        shapes = " and ".join(str(list(array.shape)) for array in data)
        raise UserError(
            f"the {name} set has images and labels {shapes}, not {list(expected)} and [{count}]; "
            f"see prepare.{name}_images in params.yaml"
        )
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise UserError(f"the {name} set is of {images.dtype} and {labels.dtype}, not uint8")
    if labels.max() >= len(task.labels):
        raise UserError(
            f"the {name} set has the class {labels.max()}, but the {len(task.labels)} classes of "
            f"{task.data_set} have the numbers 0 to {len(task.labels) - 1}"
        )
