"""gate: every criterion with its measured value, threshold and verdict; nothing else decides."""

import math
from typing import Any

from tabulate import tabulate

from pipeline.config import Gate
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.workspace import Workspace
from pipeline.tracking import Part, background

Criterion = dict[str, Any]


def run(workspace: Workspace, params: Gate) -> None:
    """Write the verdict and show it. RefusedError if any criterion fails."""
    verdict = judge(
        _report(workspace.metrics),
        _report(workspace.subject),
        _report(workspace.export_report),
        params,
    )
    table = to_markdown(verdict)
    write_json(workspace.gate_report, verdict)
    write_text(workspace.gate_table, table)
    print(table)
    background.publish(workspace, Part.TRAINING)
    if not verdict["passed"]:
        failed = [
            f"{c['name']} is {_short(c['measured'])}, required {_required(c)}{_by_how_much(c)}"
            for c in verdict["criteria"]
            if not c["passed"]
        ]
        raise RefusedError(f"the gate refuses the model: {'; '.join(failed)}")


def judge(
    metrics: dict[str, Any], subject: dict[str, Any], export: dict[str, Any], params: Gate
) -> dict[str, Any]:
    """The verdict on the reports; what is missing, NaN or of another type in them fails."""
    accuracy, images = metrics.get("accuracy"), metrics.get("images")
    difference, changed = export.get("max_logit_difference"), export.get("prediction_differences")
    size, parameters = export.get("model_bytes"), export.get("parameters")
    criteria = [
        at_least("test accuracy", accuracy, params.min_accuracy),
        equal("test images", images, params.test_images),
        equal("test set SHA-256", subject.get("test_sha256"), params.test_sha256),
        equal("evaluated file SHA-256", subject.get("model_sha256"), export.get("model_sha256")),
        at_most("logit difference to torch", difference, params.max_logit_difference),
        at_most("other predictions than torch", changed, params.max_prediction_differences),
        equal("parameters", parameters, params.parameters),
        at_most("model bytes", size, params.max_model_bytes),
    ]
    return {
        "passed": all(criterion["passed"] for criterion in criteria),
        "model_sha256": _plain(export.get("model_sha256")),
        "criteria": criteria,
    }


def at_least(name: str, measured: Any, threshold: float) -> Criterion:
    """The criterion that a fraction, 0..1, reaches a threshold."""
    return _criterion(
        name, measured, "≥", threshold, _is_number(measured) and threshold <= measured <= 1
    )


def at_most(name: str, measured: Any, threshold: float) -> Criterion:
    """The criterion that a number does not exceed a threshold."""
    return _criterion(
        name, measured, "≤", threshold, _is_number(measured) and measured <= threshold
    )


def equal(name: str, measured: Any, threshold: Any) -> Criterion:
    """The criterion that a whole number or a text is just this one, and there at all."""
    usable = type(measured) in (int, str) and type(measured) is type(threshold)
    return _criterion(name, measured, "=", threshold, usable and measured == threshold)


def to_markdown(verdict: dict[str, Any]) -> str:
    """The verdict as a Markdown table."""
    rows = [
        [c["name"], _short(c["measured"]), _required(c), mark]
        for c in verdict["criteria"]
        for mark in ["passed" if c["passed"] else "**FAILED**"]
    ]
    headers = ["criterion", "measured", "required", "verdict"]
    heading = "Gate passed" if verdict["passed"] else "Gate refused"
    align = ("left", "right", "right", "left")
    table = tabulate(rows, headers, "github", disable_numparse=True, colalign=align)
    return f"## {heading}\n\n{table}\n"


def _report(path: Any) -> dict[str, Any]:
    """A report, or nothing, with which every criterion on it fails."""
    try:
        content = read_json(path)
    except (UserError, OSError) as error:
        print(f"gate: {error}")
        return {}
    return content if isinstance(content, dict) else {}


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _plain(value: Any) -> Any:
    """What JSON and the table can show of a value."""
    return value if value is None or isinstance(value, str) or _is_number(value) else str(value)


def _criterion(name: str, measured: Any, relation: str, threshold: Any, passed: bool) -> Criterion:
    return {
        "name": name,
        "measured": _plain(measured),
        "relation": relation,
        "threshold": _plain(threshold),
        "passed": passed,
    }


def _by_how_much(criterion: Criterion) -> str:
    measured, threshold = criterion["measured"], criterion["threshold"]
    if criterion["relation"] == "=" or not _is_number(measured):
        return ""
    try:
        difference = abs(measured - threshold)
    except OverflowError:  # a whole number beyond all floats
        return ""
    return f" ({_short(difference)} too {'low' if measured < threshold else 'high'})"


def _required(criterion: Criterion) -> str:
    return f"{criterion['relation']} {_short(criterion['threshold'])}"


def _short(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{value[:12]}…" if len(value) > 16 else str(value)
