"""The `gate` stage: compare each measured value with its threshold."""

from tabulate import tabulate

from pipeline.config import Gate
from pipeline.core.collect_report import LiveReport
from pipeline.core.errors import RefusedError
from pipeline.core.files import write_text
from pipeline.core.gate_input import GateInput, read_gate_input
from pipeline.core.reports import Behaviour, Criterion, GateReport, Number, ProviderReport
from pipeline.core.workspace import Workspace
from pipeline.evaluation.titles import DISTORTION_TITLES, NUDGE_TITLES
from pipeline.tracking import Component, background

Value = Number | str | None


def run(workspace: Workspace, params: Gate) -> None:
    """Write and print the verdict. Raises RefusedError if any criterion fails.

    Publishes only a refusal: a pass is published by `release`, so that MLflow starts once for both.
    Raises UserError, with nothing written, if a report has another schema version.
    """
    reports = read_gate_input(workspace)
    for problem in reports.problems:
        print(f"gate: {problem}")
    verdict = judge(reports, params)
    table = to_markdown(verdict)
    verdict.write(workspace.gate_report)
    write_text(workspace.gate_table, table)
    print(table)
    if not verdict.passed:
        background.publish(workspace, Component.TRAINING)
        failed = [
            f"{c.name} {_short(c.measured)}, required {_required(c)}{_deviation(c)}"
            for c in verdict.criteria
            if not c.passed
        ]
        raise RefusedError(f"the gate refuses the model: {'; '.join(failed)}")


def judge(reports: GateInput, params: Gate) -> GateReport:
    """Judge the reports; every criterion of a report that is None fails."""
    metrics, subject, export = reports.metrics, reports.subject, reports.export
    accuracy, images = (metrics.accuracy, metrics.images) if metrics else (None, None)
    recall = metrics.lowest_recall if metrics else None
    calibration = metrics.expected_calibration_error if metrics else None
    test_set, evaluated = (subject.test_sha256, subject.model_sha256) if subject else (None, None)
    model, parameters = (export.model_sha256, export.parameters) if export else (None, None)
    difference = export.max_logit_difference if export else None
    novelty = export.max_novelty_difference if export else None
    changed, size = (export.prediction_differences, export.model_bytes) if export else (None, None)
    others = subject.providers[1:] if subject else []
    criteria = [
        at_least("test accuracy", accuracy, params.min_accuracy),
        at_least("lowest recall of a class", recall, params.min_recall),
        at_most("expected calibration error", calibration, params.max_calibration_error),
        equal("test images", images, params.test_images),
        equal("test set SHA-256", test_set, params.test_sha256),
        equal("evaluated file SHA-256", evaluated, model),
        at_most("logit difference from torch", difference, params.max_logit_difference),
        at_most("novelty difference from torch", novelty, params.max_novelty_difference),
        at_most("prediction differences from torch", changed, params.max_prediction_differences),
        equal("parameters", parameters, params.parameters),
        at_most("model bytes", size, params.max_model_bytes),
        *of_behaviour(reports.behaviour, model, params),
        *of_live(reports.live, model, params),
        *(criterion for provider in others for criterion in of_provider(provider, params)),
    ]
    passed = all(criterion.passed for criterion in criteria)
    return GateReport(
        passed=passed,
        model_sha256=model,
        reports_sha256=dict(reports.sha256),
        criteria=criteria,
    )


def of_behaviour(
    behaviour: Behaviour | None, model_sha256: str | None, params: Gate
) -> list[Criterion]:
    """The criteria on changed images, prediction sets and refusals, measured on the same file.

    Only what `params` lists is judged, in an order that does not depend on that of the file.
    """
    measured, refused = (behaviour.model_sha256, behaviour.refused) if behaviour else (None, None)
    accuracy = behaviour.distorted_accuracy if behaviour else {}
    changed = behaviour.changed_predictions if behaviour else {}
    coverage = behaviour.coverage if behaviour else {}
    negatives = behaviour.refused_negatives if behaviour else {}
    return [
        equal("behaviour: file SHA-256", measured, model_sha256),
        *(
            at_least(f"{title}: accuracy", accuracy.get(name), params.min_distorted_accuracy[name])
            for name, title in DISTORTION_TITLES.items()
            if name in params.min_distorted_accuracy
        ),
        *(
            at_most(
                f"{title}: changed predictions",
                changed.get(name),
                params.max_changed_predictions[name],
            )
            for name, title in NUDGE_TITLES.items()
            if name in params.max_changed_predictions
        ),
        *(
            at_least(f"prediction sets: coverage of {stated}", coverage.get(stated), least)
            for stated, least in sorted(params.min_coverage.items())
        ),
        at_most("test images: refused", refused, params.max_refused),
        *(
            at_least(f"{kind}: refused", negatives.get(kind), least)
            for kind, least in sorted(params.min_refused_negatives.items())
        ),
    ]


def of_live(live: LiveReport | None, model_sha256: str | None, params: Gate) -> list[Criterion]:
    """The criteria on the live test set; none if it was too small to be measured."""
    if live is not None and live.quality is None:
        return []
    measured = live.model_sha256 if live else None
    accuracy = live.quality.accuracy if live and live.quality else None
    return [
        equal("live test set: file SHA-256", measured, model_sha256),
        at_least("live test set: accuracy", accuracy, params.min_live_accuracy),
    ]


def of_provider(provider: ProviderReport, params: Gate) -> list[Criterion]:
    """The criteria of an execution provider that did not compute the metrics."""
    name = provider.name.removesuffix("ExecutionProvider")
    changed, difference = provider.prediction_differences, provider.max_logit_difference
    verdicts, novelty = provider.verdict_differences, provider.max_novelty_difference
    return [
        at_least(f"{name}: test accuracy", provider.accuracy, params.min_accuracy),
        at_most(
            f"{name}: prediction differences", changed, params.max_provider_prediction_differences
        ),
        at_most(f"{name}: verdict differences", verdicts, params.max_provider_verdict_differences),
        at_most(f"{name}: logit difference", difference, params.max_provider_logit_difference),
        at_most(f"{name}: novelty difference", novelty, params.max_provider_novelty_difference),
    ]


def at_least(name: str, measured: Number | None, threshold: Number) -> Criterion:
    """Require a fraction, 0..1, to reach a threshold."""
    passed = measured is not None and threshold <= measured <= 1
    return Criterion(name=name, measured=measured, relation="≥", threshold=threshold, passed=passed)


def at_most(name: str, measured: Number | None, threshold: Number) -> Criterion:
    """Require a number not to exceed a threshold."""
    passed = measured is not None and measured <= threshold
    return Criterion(name=name, measured=measured, relation="≤", threshold=threshold, passed=passed)


def equal(name: str, measured: int | str | None, threshold: int | str | None) -> Criterion:
    """Require an integer or a string to be known and equal to `threshold`."""
    passed = measured is not None and measured == threshold
    return Criterion(name=name, measured=measured, relation="=", threshold=threshold, passed=passed)


def to_markdown(verdict: GateReport) -> str:
    """Format the verdict as a Markdown table, followed by the full digests."""
    rows = [
        [c.name, _short(c.measured), _required(c), "passed" if c.passed else "**FAILED**"]
        for c in verdict.criteria
    ]
    headers = ["criterion", "measured", "required", "verdict"]
    heading = "Gate passed" if verdict.passed else "Gate refused"
    align = ("left", "right", "right", "left")
    table = tabulate(rows, headers, "github", disable_numparse=True, colalign=align)
    return "\n".join([f"## {heading}", "", table, "", *_digests(verdict), ""])


def _digests(verdict: GateReport) -> list[str]:
    """Return one line of Markdown per criterion on a digest."""
    digests = [c for c in verdict.criteria if isinstance(c.threshold, str)]
    return [
        f"- {c.name}: `{c.measured or _short(None)}`"
        + ("" if c.passed else f", required: `{c.threshold}`")
        for c in digests
    ]


def _deviation(criterion: Criterion) -> str:
    measured, threshold = criterion.measured, criterion.threshold
    if criterion.relation == "=" or isinstance(measured, str) or isinstance(threshold, str):
        return ""
    if measured is None or threshold is None:
        return ""
    difference = abs(measured - threshold)
    return f" ({_short(difference)} too {'low' if measured < threshold else 'high'})"


def _required(criterion: Criterion) -> str:
    return f"{criterion.relation} {_short(criterion.threshold)}"


def _short(value: Value) -> str:
    match value:
        case None:
            return "missing"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
    return f"{value[:12]}…" if len(value) > 16 else value
