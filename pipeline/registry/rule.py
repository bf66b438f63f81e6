"""The release rule: a candidate must not be inferior to the champion and to the best release.

It is inferior unless its error rate on the test set is shown to exceed that of the other model by
less than a margin. The same holds on the live test set, once that has enough images. Each compared
candidate is a look at the test set, which the ledger counts; the error probability alpha is divided
equally among a fixed number of looks.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Params, Release
from pipeline.core.files import read_tensors, sha256
from pipeline.core.release_report import LIVE_TEST_SET, TEST_SET, Comparison, On, Verdict
from pipeline.core.workspace import Workspace
from pipeline.evaluation.comparison import Paired, upper_bound
from pipeline.inference.session import OnnxModel
from pipeline.registry.answers import Answers
from pipeline.registry.baselines import Baseline, Baselines, IncomparableError, find_baselines
from pipeline.registry.ledger import Act, Ledger, Line


@dataclass(frozen=True)
class Judgement:
    """The verdict on a candidate, and its answers on the test set."""

    model_sha256: str
    test_sha256: str
    verdict: Verdict
    reason: str
    look: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    answers: Answers | None = None
    live_sha256: str | None = None  # of the live test set, if it was judged

    @property
    def facts(self) -> dict[str, Any]:
        """What a line of the ledger says of it; see `judged`."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "test_sha256": self.test_sha256,
            "live_sha256": self.live_sha256,
            "look": self.look,
            "comparisons": self.comparisons,
        }


def judge(
    workspace: Workspace, params: Params, model: OnnxModel, *, record: bool = True
) -> Judgement:
    """Compare a candidate with the baselines on the test set.

    With `record`, the ledger counts the look before its result is known. UserError if the ledger
    or a baseline that PIPELINE_BASELINE names is missing or damaged.
    """
    provider, rule = params.evaluate.providers[0], params.release
    test, test_sha256 = read_tensors(workspace.test_set), sha256(workspace.test_set)
    images, labels = test["images"], test["labels"]
    classes = model.run(images, params.evaluate.batch_size).logits.argmax(1)
    answers = Answers.of(model.sha256, test_sha256, classes)
    judgement = partial(Judgement, model.sha256, test_sha256, answers=answers)

    def right(baseline: Baseline) -> NDArray[np.bool_]:
        found = baseline.classes(model.signature, images, test_sha256, provider)
        return np.asarray(found == labels)

    baselines = find_baselines(workspace)
    champion = baselines.champion
    if champion is None:
        return judgement(Verdict.FIRST, "there is no released model to compare with")
    if champion.sha256 == model.sha256:
        return judgement(Verdict.NOT_INFERIOR, f"it is the same file as the {champion.title}")
    try:
        candidates = [(champion, right(champion))]
    except IncomparableError as error:
        return judgement(Verdict.UNDECIDED, f"it cannot be compared with the released one: {error}")
    live_sha256 = _judged_live_set(workspace, params)
    look, known = _look(baselines.lines, model.sha256, test_sha256, live_sha256)
    if look > rule.looks:
        return judgement(
            Verdict.UNDECIDED,
            f"{rule.looks} candidates were compared on this test set, which is all that "
            "release.looks allows",
            look,
        )
    if record and not known:
        Ledger(workspace.ledger).append(
            Act.LOOK, sha256=model.sha256, test_sha256=test_sha256, live_sha256=live_sha256
        )
    candidates += _best(baselines, right, candidates[0][1])
    new = classes == labels
    comparisons = [compare(baseline, old, new, rule) for baseline, old in candidates]
    live: list[Comparison] = []
    if live_sha256 is not None:
        compared = [baseline for baseline, _ in candidates]
        live = compare_live(workspace, params, model, compared, live_sha256)
    verdict, reason = conclude([*comparisons, *live])
    return judgement(verdict, reason, look, (*comparisons, *live), live_sha256=live_sha256)


def judged(line: Line) -> Judgement:
    """The judgement that the ledger states for a registered model."""
    return Judgement(
        model_sha256=line.sha256 or "",
        test_sha256=line.test_sha256 or "",
        verdict=Verdict(line.verdict or Verdict.UNDECIDED),
        reason=line.reason or "",
        look=line.look,
        comparisons=line.comparisons,
        live_sha256=line.live_sha256,
    )


def compare_live(
    workspace: Workspace,
    params: Params,
    model: OnnxModel,
    baselines: Sequence[Baseline],
    live_sha256: str,
) -> list[Comparison]:
    """Compare a candidate with these baselines on the live test set, which has this SHA-256."""
    live = read_tensors(workspace.live_set)
    images, labels, evaluate = live["images"], live["labels"], params.evaluate
    new = model.run(images, evaluate.batch_size).logits.argmax(1) == labels
    found = []
    for baseline in baselines:
        classes = baseline.classes(model.signature, images, live_sha256, evaluate.providers[0])
        found.append(compare(baseline, classes == labels, new, params.release, LIVE_TEST_SET))
    return found


def compare(
    baseline: Baseline,
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    rule: Release,
    on: On = TEST_SET,
) -> Comparison:
    """Compare two models from whether they are right on each image of a test set, bool [N]."""
    paired, level = Paired.of(old, new), rule.alpha / rule.looks
    return Comparison(
        baseline=baseline.title,
        sha256=baseline.sha256,
        on=on,
        images=paired.images,
        only_baseline_right=paired.only_old,
        only_candidate_right=paired.only_new,
        difference=paired.difference,
        upper_bound=upper_bound(paired, level),
        margin=rule.margin if on == TEST_SET else rule.live_margin,
        level=level,
    )


def conclude(comparisons: Sequence[Comparison]) -> tuple[Verdict, str]:
    """The verdict of comparisons, and the decisive one in a sentence."""
    worst = max(comparisons, key=lambda comparison: comparison.upper_bound - comparison.margin)
    images = "test images" if worst.on == TEST_SET else f"images of the {worst.on}"
    figures = (
        f"only the {worst.baseline} is right on {worst.only_baseline_right} of {worst.images:,} "
        f"{images}, only the new model on {worst.only_candidate_right}, so its error rate may "
        f"be {worst.upper_bound:+.3%} different, and the margin is {worst.margin:+.3%}"
    )
    if not worst.upper_bound < worst.margin:
        return Verdict.INFERIOR, f"the new model is not shown to be within the margin: {figures}"
    better = all(comparison.upper_bound < 0 for comparison in comparisons)
    return Verdict.BETTER if better else Verdict.NOT_INFERIOR, figures


def _judged_live_set(workspace: Workspace, params: Params) -> str | None:
    """The SHA-256 of the live test set; None if it has too few images to be judged."""
    path = workspace.live_set
    if not path.exists() or len(read_tensors(path)["labels"]) < params.evaluate.live_minimum:
        return None
    return sha256(path)


def _look(
    lines: Sequence[Line], candidate: str, test_sha256: str, live_sha256: str | None
) -> tuple[int, bool]:
    """The number of this look at a test set, and whether it is counted already.

    A candidate that is compared again on another live test set has another chance to pass.
    """
    looked = dict.fromkeys(
        (line.sha256, line.live_sha256)
        for line in lines
        if line.act is Act.LOOK and line.test_sha256 == test_sha256
    )
    known = (candidate, live_sha256) in looked
    place = [*looked].index((candidate, live_sha256)) if known else len(looked)
    return place + 1, known


def _best(
    baselines: Baselines,
    right: Callable[[Baseline], NDArray[np.bool_]],
    champion: NDArray[np.bool_],
) -> list[tuple[Baseline, NDArray[np.bool_]]]:
    """The earlier champion that is right on most test images, if that are more than now."""
    found = []
    for baseline in baselines.others:
        with suppress(IncomparableError):
            found.append((baseline, right(baseline)))
    best = max(found, key=lambda each: int(each[1].sum()), default=None)
    return [best] if best is not None and best[1].sum() > champion.sum() else []
