"""Another task than digits: capital letters, printed in several fonts, in 32 x 32 pixels.

It shows that the pipeline learns another data set by another name in params.yaml. Like any task it
is complete in itself: what it shares with digits is only what the pipeline gives to both.
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
    mean=0.148,  # of 2,600 training images
    std=0.311,
)
