"""The task MNIST, handwritten digits. This package contains everything specific to MNIST."""

from pipeline.core.task import SIGNS, ImageForm, Task

# Letters that no one writes as a digit. Left out are O, o, Q, D, Θ, Φ (0), I, i, J, j, l (1), Z, z
# (2), З, ε, ω (3), Ч, y (4), S, s (5), b, G, б, σ (6), ? (2, 7), B, β, δ, θ (8), g, q, a (9).
LETTERS = "ACEFHKLMNPRTUVWXYcdefhkmnprtuvwxΓΔΛΞΠΣΨΩλμπχψЖИЦШЩЮЯ"

TASK = Task(
    package=__name__,
    data_set="MNIST",
    model="mnist-cnn",
    noun="digit",
    labels=tuple("0123456789"),
    form=ImageForm(height=28, width=28, ink=20),
    mean=0.1307,  # of the 60,000 training images
    std=0.3081,
    foreign=LETTERS + SIGNS,
    # a mirrored 2 looks like a 5 and the other way round; a 0, a 1 and an 8 stay what they are
    mirrored=("3", "4", "6", "7", "9"),
)
