"""What all routes share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Predictions
from pipeline.pictures.images import Images
from pipeline.service.bodies import Bodies
from pipeline.service.limits import Limits
from pipeline.service.metrics import Metrics
from pipeline.service.pool import ModelPool, ServedModel
from pipeline.service.workers import Workers


@dataclass(frozen=True)
class Service:
    """The models and the means of one service."""

    pool: ModelPool
    limits: Limits
    metrics: Metrics
    bodies: Bodies
    workers: Workers
    workspace: Workspace | None  # where the reports about the models are

    def predict(self, model: ServedModel, images: Images, *, count: bool = True) -> Predictions:
        """What a model says of the images of a request, [N, H, W]; `count`: in the metrics.

        ValueError if there are too many.
        """
        if len(images) > self.limits.images:
            most = self.limits.images
            raise ValueError(f"a request has at most {most:,} images, not {len(images):,}")
        predictions = model.classifier.predict(images)
        if count:
            self.metrics.record_predictions(images, predictions)
        return predictions


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceState = Annotated[Service, Depends(_service)]


async def _model(name: str, request: Request, service: ServiceState) -> ServedModel:
    return service.pool.get(name, request.path_params.get("version"))


NamedModel = Annotated[ServedModel, Depends(_model)]  # by {name}, and {version} if there is one
