"""MLflow's alias follows the ledger, and an older ledger never moves it."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.workspace import Workspace
from pipeline.registry import acts, alias
from pipeline.registry.releases import Releases
from tests.releases import make_release


class Registry:
    """A registry that contains each release as the version of its number."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.versions: dict[str, str] = {}  # digests

    def register(self, workspace: Workspace) -> None:
        for release in Releases.of(workspace).all.values():
            self.versions.setdefault(release.sha256, str(len(self.versions) + 1))

    @property
    def champion(self) -> str | None:
        """The digest of the model that the alias names."""
        digests = {version: digest for digest, version in self.versions.items()}
        return digests.get(self.aliases.get("champion", ""))

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(aliases=dict(self.aliases), tags=dict(self.tags))

    def get_model_version(self, name: str, version: str) -> Any:
        (digest,) = [each for each, number in self.versions.items() if number == version]
        return SimpleNamespace(tags={"sha256": digest})

    def search_model_versions(self, query: str, order_by: list[str]) -> list[Any]:
        found = [number for digest, number in self.versions.items() if digest in query]
        return [SimpleNamespace(version=number) for number in found]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.tags[key] = value


@pytest.fixture
def registry() -> Any:
    return Registry()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "one")
    make_release(found, 0)
    return found


def clone(workspace: Workspace, name: str) -> Workspace:
    folder = workspace.root.with_name(name)
    return Workspace(Path(shutil.copytree(workspace.root, folder)))


def champion(workspace: Workspace) -> str:
    found = Releases.of(workspace).champion()
    assert found is not None
    return found.sha256


def follow(workspace: Workspace, registry: Any) -> bool:
    registry.register(workspace)
    return alias.follow(workspace, registry)


def test_it_follows_promotions_and_rollbacks(workspace: Workspace, registry: Any) -> None:
    assert follow(workspace, registry)
    assert not follow(workspace, registry)
    make_release(workspace, 1, promoted=False)
    assert not follow(workspace, registry)
    acts.promote(workspace, 2, "better")
    assert follow(workspace, registry)
    acts.rollback(workspace)
    assert follow(workspace, registry)
    assert registry.champion == champion(workspace)


def test_several_acts_at_once_are_followed(workspace: Workspace, registry: Any) -> None:
    follow(workspace, registry)
    for variation in (1, 2):
        make_release(workspace, variation)
    acts.rollback(workspace, 1)
    acts.promote(workspace, 3, "again")
    follow(workspace, registry)
    assert registry.champion == champion(workspace)


def test_an_older_clone_does_not_move_it(
    workspace: Workspace, registry: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even after the newer one has rolled back to a model that the older one knows."""
    make_release(workspace, 1)
    follow(workspace, registry)
    older = clone(workspace, "two")
    make_release(workspace, 2)
    follow(workspace, registry)
    newest = champion(workspace)
    assert not follow(older, registry)
    make_release(older, 3)
    assert not follow(older, registry)
    assert registry.champion == newest
    assert "warning" in capsys.readouterr().err
    acts.rollback(workspace, 1)
    follow(workspace, registry)
    assert not follow(older, registry)
    assert registry.champion == champion(workspace)


def test_an_alias_that_another_program_moved_stays(workspace: Workspace, registry: Any) -> None:
    make_release(workspace, 1)
    follow(workspace, registry)
    registry.aliases["champion"] = "1"
    make_release(workspace, 2)
    assert not follow(workspace, registry)
    assert registry.aliases["champion"] == "1"


def test_an_alias_without_its_tag_is_completed(workspace: Workspace, registry: Any) -> None:
    """The process was killed between the two requests."""
    follow(workspace, registry)
    before = dict(registry.tags)
    make_release(workspace, 1)
    follow(workspace, registry)
    registry.tags = before
    make_release(workspace, 2)
    assert follow(workspace, registry)
    assert registry.champion == champion(workspace)


@pytest.mark.parametrize("known", [True, False])
def test_an_alias_from_before_the_ledger_moves_from_a_model_that_was_replaced(
    workspace: Workspace, registry: Any, known: bool
) -> None:
    registry.register(workspace)
    registry.versions |= {} if known else {"f" * 64: "9"}
    registry.aliases["champion"] = "1" if known else "9"
    make_release(workspace, 1)
    assert follow(workspace, registry) is known
