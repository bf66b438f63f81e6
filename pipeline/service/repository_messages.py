"""The JSON of Triton's model repository extension: requests and responses."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, Json

from pipeline.service.messages import RequestModel

Number = Annotated[int, Field(ge=1)]


class IndexRequest(RequestModel):
    """Which models to list."""

    ready: bool = Field(default=False, description="Only models that are in memory.")


class Versions(RequestModel):
    """Versions by number."""

    versions: list[Number]


class VersionPolicy(RequestModel):
    """Which versions of a model to load."""

    specific: Versions | None = None


class ModelConfig(RequestModel):
    """The part of Triton's model configuration that this service understands."""

    version_policy: VersionPolicy | None = None


class LoadParameters(RequestModel):
    """Parameters of a request to load or unload."""

    release: Number | None = Field(default=None, description="The number of the release.")
    config: Json[ModelConfig] | None = Field(
        default=None,
        description="The same in Triton's form: JSON with `version_policy.specific.versions`.",
    )


class LoadRequest(RequestModel):
    """What to load or unload."""

    parameters: LoadParameters | None = None

    @property
    def releases(self) -> tuple[int, ...]:
        """The numbers of the releases."""
        parameters = self.parameters or LoadParameters()
        policy = parameters.config.version_policy if parameters.config else None
        specific = policy.specific.versions if policy and policy.specific else []
        numbers = [*([parameters.release] if parameters.release else []), *specific]
        return tuple(dict.fromkeys(numbers))


class ModelState(BaseModel):
    """A model that the service has, or could load."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(default="", description="Why the service has refused it.")
    role: str | None = Field(
        default=None, description="`champion`, `previous`, `challenger` or `loaded`."
    )
    release: int | None = Field(description="The number of the release; null if it is none.")
