"""What the story leaves: report.md for people, loop.json for programs, and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.loop.people import Answer
from benchmarks.tables import table
from pipeline.core import environment
from pipeline.core.figures import save_figure
from pipeline.core.files import write_json, write_text

RECENT = 100  # answers of the moving accuracy
APART = 0.03  # of the width, between labels


def write(folder: Path, result: dict[str, Any], answers: Sequence[Answer]) -> None:
    """Write the report of a run, and print its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    text = show(result)
    write_json(folder / "loop.json", {"hardware": environment.hardware()} | result)
    write_text(folder / "report.md", text)
    if len(answers) > RECENT:
        save_figure(plot(result, answers), folder / "loop.png")
    print(f"\n{text}")


def show(result: dict[str, Any]) -> str:
    """The report, as Markdown."""
    rows = [
        (name, f"{result[before]:.1%}", f"{result[after]:.1%}")
        for name, before, after in (
            ("another hand", "accuracy_before", "accuracy_after"),
            ("the known hand", "accuracy_known_hand", "accuracy_known_hand_after"),
        )
        if before in result and after in result
    ]
    killed = ", ".join(f"{name} {count}" for name, count in result["killed"].items() if count)
    killed = f"{killed}; seed {result['seed']}" if killed else "nothing"
    events = "\n".join(f"- {event['seconds']} s: {event['text']}" for event in result["events"])
    return f"""# One turn of the loop

Accuracy of the running service on new digits, before and after:

{table(("Digits of", "before", "after"), rows)}

- retrainings: {result["retrainings"]}
- requests: {result["requests"]:,} answered, {result["errors"]} failed
- labels: {result.get("labels", 0)}
- killed: {killed}
- duration: {result["seconds"]} s

![Accuracy on the last {RECENT} digits over time](loop.png)

{events}
"""


def plot(result: dict[str, Any], answers: Sequence[Answer]) -> Figure:
    """The accuracy of the last answers to digits over time, by the version that gave them.

    Lines mark the events of the report, by their seconds.
    """
    to_digits = [answer for answer in answers if answer.right is not None]
    right = np.array([answer.right for answer in to_digits], float)
    times = np.array([answer.time for answer in to_digits])[RECENT - 1 :]
    moving = np.convolve(right, np.full(RECENT, 1 / RECENT), "valid")
    versions = np.array([answer.version for answer in to_digits])[RECENT - 1 :]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    for version in dict.fromkeys(versions.tolist()):
        own = versions == version
        axes.plot(times[own], moving[own], ".", markersize=2, label=f"version {version}")
    axes.set(xlabel="seconds", ylabel=f"accuracy on the last {RECENT} digits", ylim=(0, 1.02))
    axes.legend(loc="lower left", markerscale=4)
    _mark(axes, [event["seconds"] for event in result["events"] if event["seconds"] >= times[0]])
    return figure


def _mark(axes: Axes, moments: Sequence[int]) -> None:
    """Lines at moments in seconds, with labels above those that are not too close to the last."""
    low, high = axes.get_xlim()
    above, last = axes.get_xaxis_transform(), low
    for moment in moments:
        axes.axvline(moment, color="gray", linewidth=0.8, linestyle=":")
        if moment - last > APART * (high - low):
            axes.text(moment, 1.01, f"{moment}", size=8, ha="center", transform=above)
            last = moment
