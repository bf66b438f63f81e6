"""The report that people look at: one HTML file with its figures inside."""

import base64
import io

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.core.figures import Figure
from pipeline.monitoring import figures
from pipeline.monitoring.baseline import Baseline
from pipeline.monitoring.drift import TESTS
from pipeline.monitoring.image_statistics import STATISTICS
from pipeline.monitoring.state import State
from pipeline.monitoring.windows import Window

TEMPLATE = "report.html.j2"


def report(state: State, baseline: Baseline, window: Window) -> str:
    """The page on a state whose last window is this one."""
    environment = Environment(
        loader=PackageLoader("pipeline.monitoring", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = {
        "P-values and accuracy by window": figures.history(state),
        "Share of each predicted class": figures.class_mix(state),
        "Image statistics of the last window": figures.statistics(
            baseline.reference, window.observations, state
        ),
        "The images of the last window that look least like any class": figures.unusual(window),
    }
    return environment.get_template(TEMPLATE).render(
        state=state,
        last=state.last,
        tests=TESTS,
        statistics=STATISTICS,
        figures={title: _inline(figure) for title, figure in drawn.items()},
    )


def _inline(figure: Figure) -> str:
    """The figure as a data URL."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
