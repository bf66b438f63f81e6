"""A champion that this version of the pipeline cannot use causes a warning; the alias stays."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.registry import alias
from tests.releases import stub


class Registry:
    """A registry with only the alias champion."""

    def __init__(self, champion: str | None) -> None:
        self.aliases = {} if champion is None else {"champion": champion}

    def get_registered_model(self, name: str) -> Any:
        """Return the model, which has the aliases."""
        return self


@pytest.mark.parametrize(
    ("champion", "file", "warned"),
    [
        ("1", "unsigned", True),  # registered before models had signatures
        ("1", "noise", True),
        ("1", "signed", False),  # another release
        ("1", "gone", False),
        ("2", "unsigned", False),  # the version itself
        (None, "unsigned", False),
    ],
)
def test_an_unsigned_champion_causes_a_warning_with_the_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    champion: str | None,
    file: str,
    warned: bool,
) -> None:
    def download(uri: str, folder: Path, workspace: Workspace) -> tuple[Path, None]:
        assert uri == "models:/a model/1"
        if file == "gone":
            raise UserError("it is gone")
        path = folder / "model.onnx"
        if file == "noise":
            path.write_bytes(b"noise")
        else:
            stub(path, column=0, signed=file == "signed")
        return path, None

    monkeypatch.setattr(alias, "download", download)
    registry: Any = Registry(champion)
    alias.warn_of_unsigned_champion(Workspace(tmp_path), registry, "a model", "2")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (1 if warned else 0)
    if warned:
        assert "set_registered_model_alias('a model', 'champion', '2')" in lines[0]
