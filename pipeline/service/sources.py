"""What names the champion of a service: the pointer of a workspace, or an alias in MLflow."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.registry import lookup
from pipeline.registry.releases import Releases
from pipeline.service.loading import (
    THREADS,
    LoadError,
    load_release,
    require_interface,
    warm_up,
)
from pipeline.service.pool import ServedModel

EVERY = 1.0  # seconds between looks at the pointer
EVERY_ALIAS = 30.0  # seconds between questions to MLflow


@dataclass(frozen=True)
class Pointer:
    """The pointer models/release.json of a workspace."""

    workspace: Workspace
    trust: tuple[Path, ...] = ()  # public keys, one of which must have signed a release
    seconds: float = EVERY  # between looks; 0: only on demand

    def state(self) -> object:
        """Something that changes whenever the pointer or the files of the champion change."""
        pointer = self.workspace.pointer
        try:
            folder = self.workspace.releases / str(json.loads(pointer.read_bytes())["release"])
        except (OSError, ValueError, KeyError, TypeError):
            return _stamps(pointer)
        return _stamps(pointer, folder, *sorted(folder.glob("*")))

    def load(self, serving: ServedModel | None) -> ServedModel | None:
        """The champion, unless the service has it already, or there is no pointer.

        `serving`: the champion of the service, whose interface the new one must have. LoadError if
        it is refused.
        """
        try:
            release = Releases.of(self.workspace).champion()
        except UserError as error:  # pointer and folder disagree
            raise LoadError("checksum", str(error)) from error
        if release is None:
            return None
        if serving and (serving.sha256, serving.release) == (release.sha256, release.number):
            return None
        return load_release(release, self.trust, serving.signature if serving else None)


@dataclass(frozen=True)
class Alias:
    """An alias of a registered model: models:/NAME@ALIAS."""

    uri: str
    workspace: Workspace | None  # determines the MLflow store
    trust: tuple[Path, ...] = ()
    seconds: float = EVERY_ALIAS

    def state(self) -> object:
        """The model version that the alias names. UserError if MLflow does not answer."""
        return lookup.find_version(self.uri, self.workspace)

    def load(self, serving: ServedModel | None) -> ServedModel | None:
        """The same as of a pointer. A version that is a release here is loaded from its folder."""
        found = lookup.find_version(self.uri, self.workspace)
        if serving and serving.sha256 == found.sha256:
            return None
        releases = Releases.of(self.workspace) if self.workspace else None
        if releases and (release := releases.by_digest(found.sha256)):
            return load_release(release, self.trust, serving.signature if serving else None)
        if self.trust:
            text = f"{found.uri} is not among the releases of the workspace, so it is not signed"
            raise LoadError("signature", text)
        model = ServedModel(lookup.open_classifier(found.uri, self.workspace, threads=THREADS))
        if serving:
            require_interface(model.signature, serving.signature, found.uri)
        warm_up(model)
        return model


Source = Pointer | Alias


def open_model(
    name: str | None,
    workspace: Workspace | None,
    trust: tuple[Path, ...] = (),
    seconds: float | None = None,
) -> tuple[ServedModel, Source | None]:
    """The model to serve first, and what names the next ones; None: nothing does.

    `name`: an ONNX file, models:/NAME@ALIAS, models:/NAME/VERSION, or None for the champion of the
    workspace or, without one, the released model. `seconds`: between looks, by default as the
    source needs. UserError if the model cannot be served.
    """
    if name is not None and name.startswith("models:/") and "@" in name:
        alias = Alias(name, workspace, trust, EVERY_ALIAS if seconds is None else seconds)
        model = alias.load(None)
        assert model is not None
        return model, alias
    if name is None and workspace is not None and workspace.checksums.exists():
        pointer = Pointer(workspace, trust, EVERY if seconds is None else seconds)
        model = pointer.load(None)
        if model is None:  # no release has a folder yet
            model = _open(str(workspace.released_model), workspace, trust)
        return model, pointer
    return _open(name, workspace, trust), None


def open_challenger(
    name: str, workspace: Workspace | None, trust: tuple[Path, ...], champion: ServedModel
) -> ServedModel:
    """A model to compare with the champion, whose interface it must have.

    `name`: a release number, an ONNX file, models:/NAME@ALIAS or models:/NAME/VERSION. UserError if
    it cannot be served.
    """
    if name.isdecimal():
        if workspace is None:
            raise UserError(f"--challenger {name} is a release number, but there is no workspace")
        return load_release(Releases.of(workspace).find(int(name)), trust, champion.signature)
    model, _ = open_model(name, workspace, trust, 0)
    require_interface(model.signature, champion.signature, name)
    return model


def _open(name: str | None, workspace: Workspace | None, trust: tuple[Path, ...]) -> ServedModel:
    """A model that the service keeps; if it is a release of the workspace, with its number."""
    classifier = lookup.open_classifier(name, workspace, threads=THREADS, verify=trust)
    release = Releases.of(workspace).by_digest(classifier.sha256) if workspace else None
    if release is None:
        return ServedModel(classifier)
    return ServedModel(classifier, release.number, release.folder)


def _stamps(*paths: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Name, time of change, size and inode of each file that there is."""
    found = []
    for path in paths:
        try:
            stat = os.stat(path)  # noqa: PTH116 (also of a folder)
        except OSError:
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
