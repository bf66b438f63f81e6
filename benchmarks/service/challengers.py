"""Challengers with faults: each wraps a model, and is loaded in the challenger's process."""

import os
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from pipeline.inference.classifier import Classifier, Predictions
from pipeline.pictures.images import Images

WARM_UP = 1  # calls before the first request


class Faithful:
    """Answers as the model does."""

    def __init__(self, model: Path) -> None:
        self._classifier, self._calls = Classifier(model, threads=1), count(-WARM_UP)
        self.signature = self._classifier.signature

    def predict(self, images: Images) -> Predictions:
        """The predictions for images, uint8 [N, H, W]."""
        call = next(self._calls)
        if call >= 0:
            self.misbehave(call)
        return self.answer(call, self._classifier.predict(images))

    def misbehave(self, call: int) -> None:
        """Do what is wrong with this challenger, at the request with this number."""

    def answer(self, call: int, predictions: Predictions) -> Predictions:
        """The answer to the request with this number."""
        return predictions


class Slow(Faithful):
    """Takes 60 ms longer."""

    def misbehave(self, call: int) -> None:
        """Wait."""
        time.sleep(0.06)


class Hanging(Faithful):
    """Answers two requests, then nothing."""

    def misbehave(self, call: int) -> None:
        """Hang."""
        if call >= 2:
            time.sleep(3600)


class Failing(Faithful):
    """Raises an exception for each request."""

    def misbehave(self, call: int) -> None:
        """Fail."""
        raise RuntimeError("a fault of the challenger")


class Crashing(Faithful):
    """Ends its process at the third request, as a crash in native code would."""

    def misbehave(self, call: int) -> None:
        """Crash."""
        if call >= 2:
            os._exit(139)


class Wrong(Faithful):
    """Answers every fifth request with other classes."""

    def answer(self, call: int, predictions: Predictions) -> Predictions:
        """The answer, shifted by one class if it is wrong."""
        return self.shifted(predictions) if call % 5 == 0 else predictions

    def shifted(self, predictions: Predictions) -> Predictions:
        """The predictions, shifted by one class."""
        classes = (predictions.classes + 1) % len(self.signature.labels)
        return replace(
            predictions,
            classes=classes,
            labels=[self.signature.labels[number] for number in classes],
            logits=np.roll(predictions.logits, 1, 1),
            probabilities=np.roll(predictions.probabilities, 1, 1),
        )


KINDS: dict[str, type[Faithful]] = {
    "normal": Faithful,
    "slow": Slow,
    "hanging": Hanging,
    "failing": Failing,
    "crashing": Crashing,
    "wrong": Wrong,
}
