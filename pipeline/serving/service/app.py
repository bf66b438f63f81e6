"""The routes of the HTTP service."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import orjson
from anyio.to_thread import run_sync
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from fastapi_swagger import patch_fastapi
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp

from pipeline.paths import BACKPROP, EVALUATION, METRICS
from pipeline.serving.classifier import Classifier, Predictions
from pipeline.serving.images import Images, decode_picture, in_form
from pipeline.serving.service import protocol
from pipeline.serving.service.guard import Guard, Limits, read_body
from pipeline.serving.service.metrics import Metrics
from pipeline.serving.service.problems import bad_parameter, defect, http_problem
from pipeline.serving.session import DECILES, cores

T = TypeVar("T")

PAGE = Path(__file__).parent / "page"
FIGURES = {  # what the page shows of the reports
    path.name: path
    for path in (
        METRICS,
        EVALUATION / "curves.png",
        EVALUATION / "confusion.png",
        EVALUATION / "misclassified.png",
        BACKPROP / "loss.svg",
    )
}
SCHEMAS = "#/components/schemas/"
MODEL = f"/v2/models/{protocol.NAME}"


DESCRIPTION = """Reads handwritten digits. `/predict` takes a picture as people have it; the routes
under `/v2` are those of the Open Inference Protocol, for its clients, with Triton's extension for
binary tensors."""


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str


class Answer(BaseModel):
    """What a picture shows."""

    digit: int
    confidence: float
    probabilities: list[float]
    image: list[list[int]]  # 28 rows of 28 pixels: what the model was given


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is malformed."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    408: {"model": Problem, "description": "The body did not come in time."},
    413: {"model": Problem, "description": "The body is too large."},
    503: {"model": Problem, "description": "The service is busy; see Retry-After."},
}
PICTURE = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {f"image/{kind}": PICTURE for kind in ("png", "jpeg", "bmp", "tiff")},
    }
}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"{SCHEMAS}InferRequest"}}},
    }
}


def create_app(
    classifier: Classifier, limits: Limits | None = None, token: str | None = None
) -> ASGIApp:
    """The service. With a token, predictions and metrics want `Authorization: Bearer TOKEN`."""
    limits = limits or Limits()
    version = classifier.metadata.get("version", "1")
    noted = classifier.metadata.get(DECILES, "").split(",")
    metrics = Metrics([float(decile) for decile in noted if decile])
    workers = anyio.CapacityLimiter(cores())
    app = FastAPI(
        title="MNIST digits",
        version=version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        exception_handlers={
            HTTPException: http_problem,
            RequestValidationError: bad_parameter,
            Exception: defect,
        },
    )
    patch_fastapi(app, redirect_from_root_to_docs=False)

    async def work(task: Callable[[], T]) -> T:
        """Do a task beside the event loop; what it finds wrong is the client's mistake."""
        try:
            return await run_sync(task, limiter=workers)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    def answer(images: Images) -> Predictions:
        if len(images) > limits.images:
            raise ValueError(f"a request has at most {limits.images:,} images, not {len(images):,}")
        predictions = classifier.predict(images)
        metrics.predicted(images, predictions)
        return predictions

    def read_digit(content: bytes, normalise: bool) -> Response:
        picture = decode_picture(content, limits.pixels)
        image = in_form([picture], normalise=normalise, option="normalise=true")
        digit, confidence, probabilities, _ = (part[0] for part in answer(image))
        found = {
            "digit": digit,
            "confidence": confidence,
            "probabilities": probabilities,
            "image": image[0],
        }
        return _json(found)

    def infer(body: bytes, header_length: int | None) -> Response:
        request = protocol.read_request(body, header_length)
        predictions = answer(request.images)
        outputs = {"logits": predictions.logits, "probabilities": predictions.probabilities}
        content, length = protocol.write_response(request, version, outputs)
        if length is None:
            return Response(content, media_type="application/json")
        headers = {protocol.HEADER_LENGTH: str(length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    @app.post("/predict", response_model=Answer, responses=PROBLEMS, openapi_extra=PICTURE_BODY)
    async def predict(
        request: Request,
        normalise: Annotated[bool, Query(description="bring it into MNIST's form")] = True,
    ) -> Response:
        """The digit in a picture file (PNG, JPEG, BMP or TIFF), which is the body."""
        body = await read_body(request, limits)
        return await work(partial(read_digit, body, normalise))

    @app.post(
        f"{MODEL}/infer",
        response_model=protocol.InferResponse,
        responses=PROBLEMS,
        openapi_extra=INFER_BODY,
    )
    @app.post(f"{MODEL}/versions/{version}/infer", include_in_schema=False)
    async def infer_images(request: Request) -> Response:
        """Logits and probabilities of images, by the Open Inference Protocol."""
        body = await read_body(request, limits)
        length = request.headers.get(protocol.HEADER_LENGTH)
        if length is not None and not re.fullmatch("[0-9]{1,18}", length):
            raise HTTPException(400, f"{protocol.HEADER_LENGTH} is no number")
        return await work(partial(infer, body, None if length is None else int(length)))

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        """The service."""
        return {"name": "mnist-pipeline", "version": version, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """The service runs."""
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        """The model is loaded before the service listens, so whoever hears it, may use it."""
        return {"ready": True}

    @app.get(f"{MODEL}/ready")
    @app.get(f"{MODEL}/versions/{version}/ready", include_in_schema=False)
    async def model_ready() -> dict[str, Any]:
        """The same of the model."""
        return {"name": protocol.NAME, "ready": True}

    @app.get(MODEL)
    @app.get(f"{MODEL}/versions/{version}", include_in_schema=False)
    async def model() -> dict[str, Any]:
        """The model: its inputs and outputs, and the file that it is."""
        return protocol.metadata(version) | {"parameters": {"sha256": classifier.sha256}}

    @app.get("/metrics", response_class=Response)
    async def numbers() -> Response:
        """Requests, predictions and drift, for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/figures/{name}", include_in_schema=False)
    async def figure(name: str) -> Response:
        """A report that the page shows."""
        path = FIGURES.get(name)
        if path is None or not path.is_file():
            raise HTTPException(404, f"there is no figure {name!r} here")
        return FileResponse(path)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page."""
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    _document(app, token=token is not None)
    return Guard(app, limits, metrics, token)


def _document(app: FastAPI, *, token: bool) -> None:
    """Add what the framework does not see: the schema of a body, and that a token is wanted."""
    schema = app.openapi()  # which the framework makes once and keeps
    request = protocol.InferRequest.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    parts = request.pop("$defs", {})
    components = schema["components"]
    components["schemas"].update(parts | {"InferRequest": request})
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]


def _json(content: object) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")
