"""The predictions of a release on the test set, in its answers.json."""

import base64
import zlib
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UserError
from pipeline.core.report_file import Report


class Answers(Report):
    """The class that a model predicts for each test image."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the ONNX file
    test_sha256: str  #: SHA-256 of the test set
    predictions: str  #: classes [N], uint16 in little-endian byte order, zlib, Base64

    @classmethod
    def of(cls, model_sha256: str, test_sha256: str, classes: NDArray[np.integer[Any]]) -> Self:
        """The answers of a model that predicts these classes [N]."""
        packed = base64.b64encode(zlib.compress(classes.astype("<u2").tobytes(), 9)).decode()
        return cls(model_sha256=model_sha256, test_sha256=test_sha256, predictions=packed)

    def classes(self) -> NDArray[np.uint16]:
        """The predicted classes [N]. UserError if they are damaged."""
        try:
            return np.frombuffer(zlib.decompress(base64.b64decode(self.predictions)), "<u2")
        except (ValueError, zlib.error) as error:
            raise UserError("answers.json is damaged: restore the release") from error
