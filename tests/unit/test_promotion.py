"""An unpublished release is recorded with every model that it replaces."""

from pathlib import Path

from pipeline.core.files import sha256
from pipeline.core.workspace import Workspace
from pipeline.registry import promotion


def test_a_release_records_every_model_it_replaces_until_published(
    tmp_path: Path,
) -> None:
    """Otherwise the alias would stay at a replaced model, or move away from a newer one."""
    workspace = Workspace(tmp_path)
    workspace.models.mkdir()

    def release(content: bytes) -> str:
        new = tmp_path / "new"
        new.write_bytes(content)
        promotion.record(workspace, new)
        new.rename(workspace.released_model)
        return sha256(workspace.released_model)

    def replaced_by(model: str) -> frozenset[str] | None:
        return promotion.replaced_by(workspace, model)

    one = release(b"one")
    assert replaced_by(one) == frozenset()
    two, three = release(b"two"), release(b"three")
    assert replaced_by(two) == frozenset({one})
    assert replaced_by(three) == frozenset({one, two})
    assert replaced_by("0" * 64) is None
    assert release(b"two") == two  # rolled back
    assert replaced_by(two) == frozenset({one, two, three})
    promotion.clear(workspace, "0" * 64)
    assert replaced_by(three) is not None
    four = release(b"four")
    promotion.clear(workspace, two)
    assert [replaced_by(model) for model in (one, two, three)] == [None] * 3
    assert replaced_by(four) == frozenset({one, two, three})
    workspace.pending_promotions.write_text("[]")
    assert replaced_by(four) is None
