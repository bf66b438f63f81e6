"""The models that the service has. Today it is one, in one version."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature

VERSION_LENGTH = 12  # of a file's SHA-256 that are the model's version


@dataclass(frozen=True)
class ServedModel:
    """A model, and what its clients call it."""

    classifier: Classifier

    @property
    def signature(self) -> Signature:
        """What the file says of itself."""
        return self.classifier.signature

    @property
    def name(self) -> str:
        """Its name in addresses and answers."""
        return self.signature.model

    @property
    def version(self) -> str:
        """Another file is another version: the first digits of its SHA-256."""
        return self.classifier.sha256[:VERSION_LENGTH]


class ModelPool:
    """Finds a model by name and version."""

    def __init__(self, classifier: Classifier) -> None:
        self.default = ServedModel(classifier)  # what /predict and the page use

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model with this name; HTTPException 404, which says what there is, if there is none.

        `version`: None is the default one.
        """
        model = self.default
        if name != model.name:
            raise HTTPException(404, f"there is no model {name!r} here; there is {model.name}")
        if version not in (None, model.version):
            raise HTTPException(
                404, f"there is no version {version!r} of {name} here; there is {model.version}"
            )
        return model
