"""The route for MLflow's webhook, which reports that an alias has moved.

Source: https://mlflow.org/docs/latest/ml/webhooks/ (signatures by HMAC-SHA256).
"""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping

from anyio.to_thread import run_sync
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.service.state import ServiceState

SIGNATURE, TIMESTAMP = "X-MLflow-Signature", "X-MLflow-Timestamp"
DELIVERY = "X-MLflow-Delivery-Id"
SCHEME = "v1,"  # before the signature
TOLERANCE = 300  # seconds between the clocks of MLflow and this machine
router = APIRouter(include_in_schema=False)


@router.post("/hooks/mlflow")
async def mlflow_webhook(request: Request, service: ServiceState) -> Response:
    """Look at the alias at once. What the message says is not used, only that it is genuine."""
    secret = service.webhook_secret
    if secret is None or service.follower is None:
        raise HTTPException(404)
    async with service.bodies.read(request) as body:
        genuine = is_genuine(secret, request.headers, body, time.time())
    if not genuine:
        raise HTTPException(401, "the signature of the webhook is missing, wrong or too old")
    await run_sync(service.follower.look)
    return Response(status_code=204)


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether MLflow has signed the message with this secret, in the minutes before or after `now`.

    `now`: seconds since 1970.
    """
    sent, signature = headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")
    if not (sent.isascii() and sent.isdecimal() and abs(now - int(sent[:12])) <= TOLERANCE):
        return False
    try:
        found = base64.b64decode(signature.removeprefix(SCHEME), validate=True)
    except (binascii.Error, ValueError):
        return False
    content = f"{headers.get(DELIVERY, '')}.{sent}.".encode() + body
    expected = hmac.digest(secret.encode(), content, "sha256")
    return signature.startswith(SCHEME) and hmac.compare_digest(found, expected)
