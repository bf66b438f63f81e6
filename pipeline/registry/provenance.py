"""Where a release comes from, in SLSA's form: as it was when trained, not as it is now."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple, Self

from pipeline import DISTRIBUTION
from pipeline.config import Params
from pipeline.core import variables
from pipeline.core.environment import without_password
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256
from pipeline.core.snapshot import Snapshot
from pipeline.core.workspace import Workspace

STAGES = ["fetch", "prepare", "train", "export", "evaluate", "gate", "release"]
BUILD_TYPE = f"urn:{DISTRIBUTION}:stages:1"  # the commands below, in this order, in a checkout
CHECKOUT = f"urn:{DISTRIBUTION}:checkout"  # the builder, where it is no workflow of GitHub's


class Origin(NamedTuple):
    """What a release's provenance says of the model and of the training that made it."""

    model_sha256: str
    run_id: str
    started: str  # date and time, ISO 8601

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from models/provenance.json. UserError if that is missing or no provenance."""
        statement = read_json(path)
        try:
            metadata = statement["predicate"]["runDetails"]["metadata"]
            digest = statement["subject"][0]["digest"]["sha256"]
            return cls(digest, metadata["invocationId"], metadata["startedOn"])
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{path} is no provenance of a release: "
                "`dvc repro --force --single-item release` writes it again"
            ) from error


def provenance(
    workspace: Workspace, params: Params, snapshot: Snapshot, name: str
) -> dict[str, Any]:
    """What the file `name` was built from, as an in-toto statement with SLSA provenance, v1."""
    training, subject = snapshot.training.report, snapshot.evaluation.subject
    dependencies = {
        **{
            workspace.name(workspace.raw / file): digest
            for file, digest in params.fetch.files.items()
        },
        workspace.name(workspace.training_set): training.data_sha256,
        workspace.name(workspace.test_set): subject.test_sha256,
        **training.code_sha256,
        "weights": training.weights_sha256,
    }
    if training.requirements_sha256:
        dependencies[workspace.name(workspace.requirements)] = training.requirements_sha256
    settings = params.model_dump(mode="json", include=set(STAGES)) | {"train": training.params}
    reports = [
        workspace.training_report,
        workspace.export_report,
        workspace.metrics,
        workspace.gate_report,
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": snapshot.export.model_sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "commands": [f"python -m pipeline {stage}" for stage in STAGES],
                    "params": settings,
                },
                "internalParameters": training.model_dump(
                    mode="json",
                    include={"device", "precision", "threads", "hardware", "versions"},
                ),
                "resolvedDependencies": [
                    _source(workspace.root, training.git_revision),
                    *({"name": n, "digest": {"sha256": d}} for n, d in dependencies.items()),
                ],
            },
            "runDetails": {
                "builder": {"id": builder()},
                "metadata": {"invocationId": training.run_id, "startedOn": training.started},
                "byproducts": [
                    {"name": workspace.name(path), "digest": {"sha256": sha256(path)}}
                    for path in reports
                ],
            },
        },
    }


def builder() -> str:
    """Who ran the stages: the workflow, on GitHub, or a checkout of somebody's."""
    server, workflow = variables.GITHUB_SERVER_URL.get(), variables.GITHUB_WORKFLOW_REF.get()
    return CHECKOUT if server is None or workflow is None else f"{server}/{workflow}"


def repository(root: Path) -> str | None:
    """The address of git's remote `origin`, as SPDX writes it, if it is one on the network."""
    command = ["git", "config", "--get", "remote.origin.url"]
    try:
        result = subprocess.run(command, check=True, capture_output=True, cwd=root)
        found = result.stdout.decode().strip()
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
