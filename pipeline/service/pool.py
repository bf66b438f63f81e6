"""The models of the service: currently one model in one version."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from pipeline.inference.classifier import Classifier
from pipeline.inference.signature import Signature

VERSION_LENGTH = 12  # digits of the file's SHA-256


@dataclass(frozen=True)
class ServedModel:
    """A model with its name and version."""

    classifier: Classifier

    @property
    def signature(self) -> Signature:
        """The signature in the model file."""
        return self.classifier.signature

    @property
    def name(self) -> str:
        """Its name in URLs and responses."""
        return self.signature.model

    @property
    def version(self) -> str:
        """The first digits of the file's SHA-256: another file is another version."""
        return self.classifier.sha256[:VERSION_LENGTH]


class ModelPool:
    """Finds a model by name and version."""

    def __init__(self, classifier: Classifier) -> None:
        self.default = ServedModel(classifier)  # what /predict and the page use

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model with this name and version; None is the default version.

        HTTPException 404 if there is none; the error names the available one.
        """
        model = self.default
        if name != model.name:
            raise HTTPException(404, f"no model {name!r}; this service has {model.name}")
        if version not in (None, model.version):
            raise HTTPException(
                404, f"no version {version!r} of {name}; this service has {model.version}"
            )
        return model
