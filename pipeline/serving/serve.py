"""python -m pipeline serve: the HTTP service and its page."""

import logging
import os

import uvicorn
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from pipeline.errors import UserError
from pipeline.serving.classifier import Classifier
from pipeline.serving.service.app import create_app

LOG = logging.getLogger(__name__)
TOKEN_VARIABLE = "PIPELINE_SERVE_TOKEN"  # noqa: S105 (its name)
CONNECTIONS = 1000  # at a time; others are told 503
GRACE = 10  # seconds for requests that are under way when the service is stopped


def run(model: str, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, which let requests that are under way end."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise UserError(f"{TOKEN_VARIABLE} is empty, or has signs other than those of ASCII")
    if token is None and host not in ("127.0.0.1", "localhost", "::1"):
        LOG.warning("whoever reaches %s may use the service: %s is not set", host, TOKEN_VARIABLE)
    app = create_app(Classifier(model, threads=1), token=token)
    uvicorn.run(
        app,
        host=host,
        port=port,
        http="h11",  # which limits the head of a request; httptools does not
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )
