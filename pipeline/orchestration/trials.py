"""The trial of a retrained release, which the service runs as its challenger."""

from typing import Any, Literal, NamedTuple

import requests

from pipeline.config import Loop
from pipeline.service.token import read_tokens

TIMEOUT = 10  # seconds for an answer of the service
LIMIT = 300  # evidence at which a test would end a canary
SPEED = ("latency", "failures")  # tests whose evidence speaks against a release


class Outcome(NamedTuple):
    """The trial of a release so far."""

    state: Literal["waiting", "passed", "failed"]
    text: str


def look(version: str, rules: Loop) -> Outcome:
    """What the service says about the release of this version as its challenger.

    It passes once enough requests are compared without evidence that it is slow or fails. Answers
    that differ do not count against it: the champion is what has become worse. What is right, the
    live test set decides.
    """
    assert rules.service is not None
    try:
        response = requests.get(
            f"{rules.service.rstrip('/')}/challenger", headers=_headers(), timeout=TIMEOUT
        )
        if response.status_code == requests.codes.not_found:
            return Outcome("waiting", "the service has no challenger: start it with --challenger")
        response.raise_for_status()
        return judge(version, response.json(), rules.compared)
    except (KeyError, TypeError):
        return Outcome("waiting", "what answers there is no such service: mend loop.service")
    except (requests.RequestException, ValueError) as error:
        return Outcome("waiting", f"the service does not answer: {type(error).__name__}")


def judge(version: str, status: dict[str, Any], compared: int) -> Outcome:
    """The outcome, from the JSON of the route /challenger."""
    if status["version"] != version:
        return Outcome("waiting", f"the service tries version {status['version']}")
    requests_, differ = status["requests"], status["differ"]
    counts = f"{differ} of {requests_} requests answered differently"
    if status["state"] == "ended":
        return Outcome("failed", f"its trial has ended: {status['explanation']}")
    against = [name for name in SPEED if status["evidence"][name] >= LIMIT]
    if against:
        return Outcome("failed", f"its trial has evidence of {' and '.join(against)}; {counts}")
    if status["state"] == "starting" or requests_ < compared:
        return Outcome("waiting", f"{counts}; {compared} are to be compared")
    return Outcome("passed", counts)


def _headers() -> dict[str, str]:
    token = read_tokens().use
    return {} if token is None else {"Authorization": f"Bearer {token}"}
