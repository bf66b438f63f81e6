"""A challenger that is named later: the release that a retraining puts on trial."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier, Predictions
from pipeline.inference.signature import Signature
from pipeline.pictures.images import Images
from pipeline.registry.releases import Releases
from pipeline.registry.retrainings import unfinished
from pipeline.service.loading import load_release

LOG = logging.getLogger(__name__)
TRIAL = "trial"  # the name of such a challenger
POLL = 1.0  # seconds between looks at the ledger


@dataclass(frozen=True)
class Awaited:
    """A release on trial, in the challenger's process."""

    classifier: Classifier
    release: int
    workspace: Workspace

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return self.classifier.sha256

    @property
    def signature(self) -> Signature:
        """The signature in the file."""
        return self.classifier.signature

    def predict(self, images: Images) -> Predictions:
        """The predictions for images, uint8 [N, H, W]."""
        return self.classifier.predict(images)

    def is_over(self) -> bool:
        """Whether its trial has ended, by the ledger."""
        try:
            return number_on_trial(Releases.of(self.workspace)) != self.release
        except UserError:  # the ledger is damaged: nothing changes
            return False


def await_trial(workspace: Workspace, trust: tuple[Path, ...]) -> Awaited:
    """Wait until the ledger has a release on trial, and load it. One that is refused is logged."""
    refused = None
    while True:
        try:
            releases = Releases.of(workspace)
            number = number_on_trial(releases)
            if number is not None and number != refused:
                refused = number
                champion = releases.champion()
                like = Classifier(champion.model, threads=1).signature if champion else None
                model = load_release(releases.find(number), trust, like)
                return Awaited(model.classifier, number, workspace)
        except UserError as error:
            LOG.error("the release on trial is refused: %s", error)
        time.sleep(POLL)


def number_on_trial(releases: Releases) -> int | None:
    """The number of the release on trial, by the ledger. UserError if that is damaged."""
    current = unfinished(releases.lines)
    return current.trial.release if current and current.trial else None
