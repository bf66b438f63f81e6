"""Errors about a registered model use the name that the user gave."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.registry import lookup, open_classifier
from tests.releases import stub


@pytest.mark.parametrize(
    ("digest", "said"), [(None, "it has no model signature"), ("0" * 64, "has the SHA-256")]
)
def test_a_refused_registered_model_is_named_as_given(
    monkeypatch: pytest.MonkeyPatch, digest: str | None, said: str
) -> None:
    """Not the name of the temporary file, which is gone."""

    def download(uri: str, folder: Path, workspace: object) -> tuple[Path, str | None]:
        path = folder / "model.onnx"
        stub(path, column=0, signed=False)
        return path, digest

    monkeypatch.setattr(lookup, "download", download)
    with pytest.raises(UserError, match=rf"^models:/mnist-cnn@champion:? {said}"):
        open_classifier("models:/mnist-cnn@champion")
