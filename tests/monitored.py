"""A journal of MNIST images with the released model's answers to them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.inference.classifier import Classifier
from pipeline.journal.entry import lists
from tests.digits import Images
from tests.journals import START, make_journal


def add_answers(
    journal: Path,
    classifier: Classifier,
    images: Images,
    start: datetime = START,
    **columns: Sequence[Any],
) -> list[str]:
    """Add images with the classifier's answers to a journal, a second apart; the ids."""
    found, count = classifier.predict(images), len(images)
    answers: Mapping[str, Sequence[Any]] = {
        "sha256": [classifier.sha256] * count,
        "version": [classifier.sha256[:12]] * count,
        "logits": lists(found.logits),
        "probabilities": lists(found.probabilities),
        "verdict": found.verdicts,
        "label": found.labels,
        "novelty": found.novelty.tolist(),
        **columns,
    }
    return make_journal(journal, images, found.classes, start=start, columns=answers)
