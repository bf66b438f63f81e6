"""Another task: capital letters, printed in several fonts, in 32 x 32 pixels.

It shows that the pipeline trains on another data set if params.yaml names another task. Like any
task it is self-contained: it shares nothing with digits but the pipeline.
"""

from string import ascii_uppercase

from pipeline.core.task import ImageForm, Task

TASK = Task(
    package=__name__,
    data_set="Letters",
    model="letters-cnn",
    noun="letter",
    labels=tuple(ascii_uppercase),
    form=ImageForm(height=32, width=32, ink=19),
    mean=0.139,  # of 2,600 training images
    std=0.316,
)
