"""The routes of the HTTP service."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pipeline.core.workspace import Workspace
from pipeline.inference.classifier import Classifier, Predictions
from pipeline.pictures.images import Images, in_form
from pipeline.service import documentation, figures, protocol
from pipeline.service.bodies import Bodies, Body
from pipeline.service.documentation import OPERATION, PICTURES, PROBLEMS, PROTOCOL
from pipeline.service.guard import Guard, Limits
from pipeline.service.metrics import Metrics
from pipeline.service.problems import bad_parameter, defect, http_problem
from pipeline.service.uploads import read_picture
from pipeline.service.work import Workers

PAGE = Path(__file__).parent / "page"
MODEL = f"/v2/models/{protocol.NAME}"
ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Options(BaseModel):
    """The query of /predict. What it does not know is an error: it may be a misspelt option."""

    model_config = ConfigDict(extra="forbid")
    normalise: Annotated[bool, Field(description="bring it into MNIST's form")] = True
    image: Annotated[bool, Field(description="answer with what the model was given")] = True
    preview: Annotated[bool, Field(description="leave it out of the metrics")] = False


def create_app(
    classifier: Classifier,
    limits: Limits | None = None,
    token: str | None = None,
    workspace: Workspace | None = None,
) -> Guard:
    """The service. With a token, it requires `Authorization: Bearer TOKEN` for what is not open."""
    limits = limits or Limits()
    version = classifier.signature.interface
    metrics = Metrics(classifier.signature.mean_pixel_deciles)
    bodies, workers = Bodies(limits), Workers(limits.queue_seconds)
    app = FastAPI(
        title="MNIST digits",
        version=version,
        description=documentation.DESCRIPTION,
        openapi_tags=documentation.TAGS,
        servers=[{"url": "./"}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: http_problem,
            RequestValidationError: bad_parameter,
            Exception: defect,
        },
    )

    def answer(images: Images, *, count: bool = True) -> Predictions:
        if len(images) > limits.images:
            raise ValueError(f"a request has at most {limits.images:,} images, not {len(images):,}")
        predictions = classifier.predict(images)
        if count:
            metrics.predicted(images, predictions)
        return predictions

    def read_digit(body: Body, content_type: str, options: Options) -> Response:
        picture = read_picture(body.unpacked(), content_type, limits.pixels)
        images = in_form([picture], normalise=options.normalise, option="normalise=true")
        predictions = answer(images, count=not options.preview)
        digit, confidence, probabilities, _ = (part[0] for part in predictions)
        found = {"digit": digit, "confidence": confidence, "probabilities": probabilities}
        return _json(found | ({"image": images[0]} if options.image else {}))

    def infer(body: Body, header_length: int | None) -> Response:
        request = protocol.read_request(body.unpacked(), header_length)
        predictions = answer(request.images)
        outputs = {"logits": predictions.logits, "probabilities": predictions.probabilities}
        content, length = protocol.write_response(request, version, outputs)
        if length is None:
            return Response(content, media_type="application/json")
        headers = {protocol.HEADER_LENGTH: str(length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    @app.post(
        "/predict",
        tags=[PICTURES],
        summary="Read a picture",
        response_model=documentation.Answer,
        responses=PROBLEMS,
        openapi_extra=documentation.PICTURE_BODY,
    )
    async def predict(
        request: Request,
        options: Annotated[Options, Query()],
    ) -> Response:
        """The digit in a picture file (PNG, JPEG, BMP or TIFF), which is the body:
        `curl --data-binary @FILE`."""
        kind = request.headers.get("content-type", "")
        async with bodies.read(request) as body:
            task = partial(read_digit, body, kind, options)
            return await workers.do(request, task)

    @app.post(
        f"{MODEL}/infer",
        tags=[PROTOCOL],
        summary="Read images",
        response_model=protocol.InferResponse,
        responses=documentation.INFER_ANSWERS,
        openapi_extra=documentation.INFER_BODY,
    )
    @app.post(f"{MODEL}/versions/{version}/infer", include_in_schema=False)
    async def infer_images(request: Request) -> Response:
        """Logits and probabilities of images, as JSON or as bytes behind it."""
        length = request.headers.get(protocol.HEADER_LENGTH)
        if length is not None and not re.fullmatch("[0-9]{1,18}", length):
            raise HTTPException(400, f"{protocol.HEADER_LENGTH} is not a number")
        async with bodies.read(request) as body:
            task = partial(infer, body, None if length is None else int(length))
            return await workers.do(request, task)

    @app.get("/v2", tags=[PROTOCOL], summary="Describe the service")
    async def server() -> dict[str, Any]:
        """Its name, its version and the extensions that it supports."""
        return {"name": "mnist-pipeline", "version": version, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", tags=[PROTOCOL], summary="Is the service alive?")
    async def live() -> dict[str, bool]:
        """It runs."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=[PROTOCOL], summary="Is the service ready?")
    async def ready() -> dict[str, bool]:
        """The model is loaded before the service listens, so it is ready as soon as it answers."""
        return {"ready": True}

    @app.get(f"{MODEL}/ready", tags=[PROTOCOL], summary="Is the model ready?")
    @app.get(f"{MODEL}/versions/{version}/ready", include_in_schema=False)
    async def model_ready() -> dict[str, Any]:
        """The same of the model."""
        return {"name": protocol.NAME, "ready": True}

    @app.get(MODEL, tags=[PROTOCOL], summary="Describe the model")
    @app.get(f"{MODEL}/versions/{version}", include_in_schema=False)
    async def model() -> dict[str, Any]:
        """Its inputs and outputs, and the SHA-256 of its file."""
        return protocol.metadata(version) | {"parameters": {"sha256": classifier.sha256}}

    @app.get(
        "/metrics", tags=[OPERATION], summary="Metrics for Prometheus", response_class=Response
    )
    async def numbers() -> Response:
        """Requests, predictions and drift."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/figures/{name}", include_in_schema=False)
    async def figure(name: str) -> Response:
        """A report about the model, which the page shows."""
        path = figures.find(workspace, name, classifier.sha256)
        if path is None:
            raise HTTPException(404, f"there is no figure {name!r} of this model here")
        return FileResponse(path)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page."""
        return FileResponse(PAGE / "index.html")

    @app.api_route("/{path:path}/", methods=ANY_METHOD, include_in_schema=False)
    async def without_slash(path: str, request: Request) -> Response:
        """The same address without the slash at its end, relative: a proxy may add a prefix."""
        if not path or path.endswith("/"):
            raise HTTPException(404)
        query = f"?{request.url.query}" if request.url.query else ""
        address = f"../{quote(path.rpartition('/')[-1])}{query}"
        return Response(status_code=307, headers={"Location": address})

    app.mount("/page", StaticFiles(directory=PAGE))
    documentation.document(app, token=token is not None)
    return Guard(app, limits, metrics, token)


def _json(content: object) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")
