"""Where a release comes from, in SLSA's form: what was when it was trained, not what is now."""

import os
import re
import subprocess
from typing import Any

from pipeline.config import Params
from pipeline.core import paths
from pipeline.core.environment import without_password
from pipeline.core.files import read_json, sha256

STAGES = ["fetch", "prepare", "train", "export", "evaluate", "gate", "release"]
BUILD_TYPE = "urn:mnist-pipeline:stages:1"  # the commands below, in this order, in a checkout
CHECKOUT = "urn:mnist-pipeline:checkout"  # the builder, where it is no workflow of GitHub's


def provenance(params: Params) -> dict[str, Any]:
    """What was built from what, as an in-toto statement with a SLSA provenance predicate, v1."""
    training = read_json(paths.SUMMARY)
    sources = {
        **{f"data/raw/{name}": digest for name, digest in params.fetch.files.items()},
        **{path.as_posix(): sha256(path) for path in (paths.TRAIN, paths.TEST)},
        **training["code_sha256"],
        "weights": training["weights_sha256"],
    }
    if requirements := training.get("requirements_sha256"):
        sources["requirements.txt"] = requirements
    settings = params.model_dump(mode="json", include=set(STAGES)) | {"train": training["params"]}
    reports = [paths.SUMMARY, paths.EXPORT_REPORT, paths.METRICS, paths.GATE_REPORT]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": paths.RELEASED_MODEL.name, "digest": {"sha256": sha256(paths.MODEL)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "commands": [f"python -m pipeline {stage}" for stage in STAGES],
                    "params": settings,
                },
                "internalParameters": {
                    name: training[name]
                    for name in ("device", "precision", "threads", "hardware", "versions")
                },
                "resolvedDependencies": [
                    _source(training["git_revision"]),
                    *({"name": n, "digest": {"sha256": d}} for n, d in sources.items()),
                ],
            },
            "runDetails": {
                "builder": {"id": builder()},
                "metadata": {
                    "invocationId": training["run_id"],
                    "startedOn": training["started"],
                },
                "byproducts": [
                    {"name": path.as_posix(), "digest": {"sha256": sha256(path)}}
                    for path in reports
                ],
            },
        },
    }


def builder() -> str:
    """Who ran the stages: the workflow, on GitHub, or a checkout of somebody's."""
    if {"GITHUB_SERVER_URL", "GITHUB_WORKFLOW_REF"} <= os.environ.keys():
        return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_WORKFLOW_REF']}"
    return CHECKOUT


def repository() -> str | None:
    """The address of git's remote `origin`, as SPDX writes it, if it is one on the network."""
    command = ["git", "config", "--get", "remote.origin.url"]
    try:
        found = subprocess.run(command, check=True, capture_output=True).stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    if scp := re.fullmatch(r"(?:[^@/]+@)?([^@/:[]{2,}|\[[^]]+\]):(?!:|//)(.+)", found):
        found = f"ssh://{scp[1]}/{scp[2].lstrip('/')}"
    if not re.match("(https?|ssh|git)://", found, re.IGNORECASE):
        return None  # a folder of this machine
    return f"git+{without_password(found)}"


def _source(revision: str) -> dict[str, Any]:
    """The repository as a dependency; only a commit is a digest, `-dirty` and `unknown` are not."""
    commit = revision.removesuffix("-dirty")
    digest = {} if commit == "unknown" else {"digest": {"gitCommit": commit}}
    address = repository()
    uri = {"uri": address} if address else {}
    return {"name": "source", **uri, **digest, "annotations": {"revision": revision}}
