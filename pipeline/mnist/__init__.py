"""The task MNIST, handwritten digits. This package contains everything specific to MNIST."""

from pipeline.core.task import ImageForm, Task

TASK = Task(
    package=__name__,
    data_set="MNIST",
    model="mnist-cnn",
    noun="digit",
    labels=tuple("0123456789"),
    form=ImageForm(height=28, width=28, ink=20),
    mean=0.1307,  # of the 60,000 training images
    std=0.3081,
)
