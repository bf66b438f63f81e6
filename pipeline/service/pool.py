"""The models of the service, each in its role."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException

from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature

VERSION_LENGTH = 12  # digits of the file's SHA-256
ON_DEMAND = 4  # the highest number of models that are loaded in no role
CHAMPION, PREVIOUS, CHALLENGER, LOADED = "champion", "previous", "challenger", "loaded"


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model in memory. It never changes: a request keeps the one with which it has started."""

    classifier: Classifier
    release: int | None = None  # its number; None if the model is not a release of the workspace
    folder: Path | None = field(default=None, repr=False)  # of that release

    @property
    def signature(self) -> Signature:
        """The signature in the model file."""
        return self.classifier.signature

    @property
    def name(self) -> str:
        """Its name in URLs and responses."""
        return self.signature.model

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return self.classifier.sha256

    @property
    def version(self) -> str:
        """The first digits of the file's SHA-256: another file is another version."""
        return self.sha256[:VERSION_LENGTH]

    @property
    def label(self) -> str:
        """The version and the release number, for people."""
        return self.version if self.release is None else f"{self.version} (release {self.release})"

    def has_version(self, version: str) -> bool:
        """Whether `version` is the version or the release number of this model."""
        return version in (self.version, str(self.release))


class Roles(NamedTuple):
    """The models of a service at one moment."""

    champion: ServedModel
    previous: ServedModel | None = None
    challenger: ServedModel | None = None
    loaded: tuple[ServedModel, ...] = ()  # loaded on demand, in no role

    def models(self) -> Iterator[tuple[str, ServedModel]]:
        """Each version once, with its first role."""
        pairs = [(CHAMPION, self.champion), (PREVIOUS, self.previous)]
        pairs += [(CHALLENGER, self.challenger), *((LOADED, model) for model in self.loaded)]
        seen = set()
        for role, model in pairs:
            if model is not None and model.version not in seen:
                seen.add(model.version)
                yield role, model


class ModelPool:
    """Finds a model by name and version. Readers need no lock: each change replaces all roles.

    A model that has lost its role is closed once the last request that uses it has ended.
    """

    def __init__(self, champion: ServedModel) -> None:
        self._roles, self._changing = Roles(champion), threading.Lock()

    @property
    def roles(self) -> Roles:
        """All models, as of one moment."""
        return self._roles

    @property
    def champion(self) -> ServedModel:
        """The model that answers requests that name no version."""
        return self._roles.champion

    @property
    def previous(self) -> ServedModel | None:
        """The champion before, which is kept until the next swap."""
        return self._roles.previous

    @property
    def challenger(self) -> ServedModel | None:
        """The model that is compared with the champion."""
        return self._roles.challenger

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model with this name and version; None is the champion's version.

        `version`: as in responses, or a release number. HTTPException 404 if there is none; the
        error names the available ones.
        """
        roles = self._roles
        if name != roles.champion.name:
            raise HTTPException(404, f"no model {name!r}; this service has {roles.champion.name}")
        if version is None:
            return roles.champion
        models = [model for _, model in roles.models()]
        for model in models:
            if model.has_version(version):
                return model
        available = ", ".join(model.label for model in models)
        raise HTTPException(404, f"no version {version!r} of {name}; this service has {available}")

    def swap(self, new: ServedModel) -> None:
        """Make a model the champion; the old champion becomes the previous one."""
        with self._changing:
            self._roles = self._roles._replace(champion=new, previous=self._roles.champion)

    def set_challenger(self, model: ServedModel | None) -> None:
        """Make a model the challenger; None removes the challenger."""
        with self._changing:
            self._roles = self._roles._replace(challenger=model)

    def set_loaded(self, models: tuple[ServedModel, ...]) -> None:
        """Replace the models that are loaded on demand."""
        with self._changing:
            self._roles = self._roles._replace(loaded=models)
