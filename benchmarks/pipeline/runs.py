"""Runs of the DAG in several ways, in copies of this checkout, with the time of each stage."""

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.pipeline.checkout import Checkout
from pipeline.core.errors import UserError
from pipeline.core.reports import TrainingReport
from pipeline.core.workspace import Workspace

Lines = list[tuple[float, str]]  # as `Checkout.run` gives them

UNTRACKED = {"MLFLOW_TRACKING_URI": "none"}
DVC = ["dvc", "repro"]
FLOW = [sys.executable, "-m", "pipeline", "flow"]
IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| +(\w+)")  # own microseconds, package
STAGE = re.compile(r"stage ?(\w*)$|Running stage '(\w+)':")


@dataclass
class Run:
    """The seconds that a run took."""

    total: float
    epochs: float = 0.0  # of the total, in epochs of training
    stages: dict[str, float] = field(default_factory=dict)
    imports: dict[str, dict[str, float]] = field(default_factory=dict)  # by process and package

    @property
    def rest(self) -> float:
        """Seconds without the epochs."""
        return self.total - self.epochs


def stages_alone(checkout: Checkout) -> tuple[Run, Run]:
    """All stages in one process: the stages alone, and the whole process."""
    command = ["-X", "importtime", "-m", "benchmarks.pipeline.stages"]
    lines = checkout.python(*command, variables=UNTRACKED)
    stages = {
        name: _seconds(part) - sum(_imports(part).values())
        for name, part in _by_stage(lines).items()
    }
    epochs = _epochs(checkout)
    return Run(sum(stages.values()), epochs, stages), Run(lines[-1][0], epochs)


def process(checkout: Checkout, name: str, variables: Mapping[str, str]) -> Run:
    """A process of `python -m pipeline NAME`."""
    lines = checkout.python("-X", "importtime", "-m", "pipeline", name, variables=variables)
    seconds = lines[-1][0]
    return Run(seconds, stages={name: seconds}, imports={name: _imports(lines)})


def processes(checkout: Checkout, stages: Sequence[str]) -> Run:
    """A process for each stage."""
    together = Run(0.0)
    for run in (process(checkout, name, UNTRACKED) for name in stages):
        together.total += run.total
        together.stages |= run.stages
        together.imports |= run.imports
    together.epochs = _epochs(checkout)
    return together


def repro(checkout: Checkout, *options: str, variables: Mapping[str, str] | None = None) -> Run:
    """`dvc repro`; the seconds of a stage end when the next one begins."""
    lines = checkout.run([*DVC, *options], variables)
    stages = {name: _seconds(part) for name, part in _by_stage(lines).items()}
    return Run(lines[-1][0], _epochs(checkout), stages)


def cached(checkout: Checkout, command: Sequence[str], variables: Mapping[str, str]) -> float:
    """Seconds of a command with every stage up to date. UserError if it runs a stage."""
    lines = checkout.run(command, variables)
    if _by_stage(lines):
        raise UserError(f"`{' '.join(command)}` ran a stage that was up to date")
    return lines[-1][0]


def _by_stage(lines: Lines) -> dict[str, Lines]:
    """The lines from the start of each stage to the start of the next, both included."""
    parts: dict[str, Lines] = defaultdict(list)
    name = ""
    for moment, line in lines:
        parts[name].append((moment, line))
        if match := STAGE.match(line):
            name = match[1] or match[2] or ""
            parts[name].append((moment, line))
    del parts[""]  # lines before the first stage and, in `stages_alone`, after the last
    return parts


def _seconds(lines: Lines) -> float:
    return lines[-1][0] - lines[0][0]


def _imports(lines: Lines) -> dict[str, float]:
    """Import seconds by package, from the output of `python -X importtime`."""
    found: dict[str, float] = defaultdict(float)
    for _, line in lines:
        if match := IMPORT.match(line):
            found[match[2]] += int(match[1]) / 1e6
    return dict(found)


def _epochs(checkout: Checkout) -> float:
    """Seconds of the epochs in the training report; 0 without a report."""
    path = Workspace(checkout.folder).training_report
    return TrainingReport.read(path).seconds if path.exists() else 0.0
