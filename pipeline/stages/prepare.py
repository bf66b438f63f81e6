"""The `prepare` stage: decode and check the published files and store one safetensors per set."""

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pipeline.collection.known import KnownImages
from pipeline.config import Prepare
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import write_bytes, write_csv
from pipeline.core.task import LabelledImages, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures

SEED = 1  # of the draw of the calibration set
ROUNDING = 0.001  # tolerance for the mean and std of a task, which have three digits or more


def run(workspace: Workspace, params: Prepare, task: Task) -> None:
    """Write training, calibration and test set, a sheet of sample images and the class counts.

    The stage `collect` recognises test images by digests and perceptual hashes, written here too.

    Raises UserError if a set is not as declared or a class has no training images.
    """
    training, test = task.read(workspace.raw)
    check(training, params.training_images, "training", task)
    check(test, params.test_images, "test", task)
    compare_pixels(training.images, task)
    training, calibration = split(training, params.calibration_images)
    if missing := missing_classes(training, task):
        raise UserError(f"the training set has no images of the classes {missing}")
    if missing := missing_classes(test, task):
        print(f"warning: the test set has no images of the classes {missing}")
    for path, data in (
        (workspace.training_set, training),
        (workspace.calibration_set, calibration),
        (workspace.test_set, test),
    ):
        write_bytes(path, save(data._asdict()))
    KnownImages.of(test.images).write(workspace.test_hashes)

    sheet = figures.sample_sheet(*training, task.labels)
    save_figure(sheet, workspace.prepare_reports / "samples.png")
    counts = [
        {
            "label": label,
            "training_images": int((training.labels == number).sum()),
            "calibration_images": int((calibration.labels == number).sum()),
            "test_images": int((test.labels == number).sum()),
        }
        for number, label in enumerate(task.labels)
    ]
    write_csv(workspace.prepare_reports / "classes.csv", counts)
    print(
        f"{len(training.images):,} training, {len(calibration.images):,} calibration and "
        f"{len(test.images):,} test images, checked"
    )


def check(data: LabelledImages, count: int, name: str, task: Task) -> None:
    """Raise UserError unless the set has `count` images of the task's form, with known labels."""
    images, labels = data
    if images.shape[1:] != task.form.shape:
        raise UserError(
            f"the {name} set has images of the shape {list(images.shape)}, not "
            f"[N, {task.form.height}, {task.form.width}] (number, height, width) as "
            f"{task.package} declares"
        )
    if len(images) != count or labels.shape != (count,):
        raise UserError(
            f"the {name} set has {len(images):,} images and labels of the shape "
            f"{list(labels.shape)}, not {count:,} each; see prepare.{name}_images in params.yaml"
        )
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise UserError(
            f"the {name} set has images of {images.dtype} and labels of {labels.dtype}, not uint8"
        )
    if labels.max() >= len(task.labels):
        raise UserError(
            f"the {name} set has the class {labels.max()}, but the {len(task.labels)} classes of "
            f"{task.data_set} are numbered 0 to {len(task.labels) - 1}"
        )


def split(data: LabelledImages, count: int) -> tuple[LabelledImages, LabelledImages]:
    """Draw `count` images at random: the rest in order, and the drawn ones in order.

    A random draw makes them exchangeable with the rest, which conformal prediction requires.
    """
    drawn = np.zeros(len(data.images), bool)
    drawn[np.random.default_rng(SEED).permutation(len(drawn))[:count]] = True
    rest, chosen = (LabelledImages(*(part[mask] for part in data)) for mask in (~drawn, drawn))
    return rest, chosen


def missing_classes(data: LabelledImages, task: Task) -> str:
    """List the labels of the classes without images; empty if there are none."""
    counts = np.bincount(data.labels, minlength=len(task.labels))
    return ", ".join(repr(task.labels[number]) for number in np.flatnonzero(counts == 0))


def compare_pixels(images: NDArray[np.uint8], task: Task) -> None:
    """Print mean and standard deviation of the pixels; warn if those of the task differ."""
    mean, std = pixel_statistics(images)
    print(f"pixels scaled to 0..1: mean={mean:.4f}, std={std:.4f}")
    if max(abs(mean - task.mean), abs(std - task.std)) > ROUNDING:
        print(
            f"warning: {task.package} normalises with mean={task.mean}, std={task.std}; set the "
            "measured values in its TASK"
        )


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels, scaled to 0..1."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)  # avoids a copy
    levels = np.arange(256) / 255
    mean = np.average(levels, weights=counts)
    return float(mean), float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))
