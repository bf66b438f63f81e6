"""Where a release comes from, in SLSA's form: what was when it was trained, not what is now."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from pipeline.config import Params
from pipeline.core.environment import without_password
from pipeline.core.files import read_json, sha256
from pipeline.core.workspace import Workspace

STAGES = ["fetch", "prepare", "train", "export", "evaluate", "gate", "release"]
BUILD_TYPE = "urn:mnist-pipeline:stages:1"  # the commands below, in this order, in a checkout
CHECKOUT = "urn:mnist-pipeline:checkout"  # the builder, where it is no workflow of GitHub's


def provenance(workspace: Workspace, params: Params, name: str) -> dict[str, Any]:
    """What was built from what, as an in-toto statement with a SLSA provenance predicate, v1."""
    training = read_json(workspace.training_report)
    sources = {
        **{f"data/raw/{name}": digest for name, digest in params.fetch.files.items()},
        **{
            workspace.name(path): sha256(path)
            for path in (workspace.training_set, workspace.test_set)
        },
        **training["code_sha256"],
        "weights": training["weights_sha256"],
    }
    if requirements := training.get("requirements_sha256"):
        sources["requirements.txt"] = requirements
    settings = params.model_dump(mode="json", include=set(STAGES)) | {"train": training["params"]}
    reports = [
        workspace.training_report,
        workspace.export_report,
        workspace.metrics,
        workspace.gate_report,
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256(workspace.model)}}],
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
                    _source(workspace.root, training["git_revision"]),
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
                    {"name": workspace.name(path), "digest": {"sha256": sha256(path)}}
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


def repository(root: Path) -> str | None:
    """The address of git's remote `origin`, as SPDX writes it, if it is one on the network."""
    command = ["git", "config", "--get", "remote.origin.url"]
    try:
        found = (
            subprocess.run(command, check=True, capture_output=True, cwd=root)
            .stdout.decode()
            .strip()
        )
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    if scp := re.fullmatch(r"(?:[^@/]+@)?([^@/:[]{2,}|\[[^]]+\]):(?!:|//)(.+)", found):
        found = f"ssh://{scp[1]}/{scp[2].lstrip('/')}"
    if not re.match("(https?|ssh|git)://", found, re.IGNORECASE):
        return None  # a folder of this machine
    return f"git+{without_password(found)}"


def _source(root: Path, revision: str) -> dict[str, Any]:
    """The repository as a dependency; only a commit is a digest, `-dirty` and `unknown` are not."""
    commit = revision.removesuffix("-dirty")
    digest = {} if commit == "unknown" else {"digest": {"gitCommit": commit}}
    address = repository(root)
    uri = {"uri": address} if address else {}
    return {"name": "source", **uri, **digest, "annotations": {"revision": revision}}
