"""The style of all figures, and writing them so that equal figures have equal bytes."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pipeline.core.files import replacing

__all__ = ["Figure", "save_figure"]

matplotlib.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "svg.hashsalt": "pipeline",  # otherwise the ids in an SVG file are random
    }
)


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write the figure to each path atomically; the suffix sets the format."""
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
