"""The provenance of a release in SLSA's format: the state at training time, not the current one."""

import re
import subprocess
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import DISTRIBUTION
from pipeline.config import Params
from pipeline.core import variables
from pipeline.core.environment import without_password
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256
from pipeline.core.reports import Moment
from pipeline.core.snapshot import Snapshot
from pipeline.core.workspace import Workspace

STAGES = [
    *(
        "fetch",
        "prepare",
        "collect",
        "train",
        "detect",
        "calibrate",
        "export",
        "evaluate",
        "gate",
        "release",
    ),
]
BUILD_TYPE = f"urn:{DISTRIBUTION}:stages:3"  # these stages, in this order, in a checkout
CHECKOUT = f"urn:{DISTRIBUTION}:checkout"  # the builder outside GitHub Actions


class Origin(BaseModel):
    """The model and its training, as the provenance of a release names them."""

    model_config = ConfigDict(frozen=True, strict=True)
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    run_id: Annotated[str, Field(min_length=1)]
    started: Moment

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read models/provenance.json. UserError if it is missing or damaged."""
        statement = read_json(path)
        try:
            metadata = statement["predicate"]["runDetails"]["metadata"]
            digest = statement["subject"][0]["digest"]["sha256"]
            return cls(
                model_sha256=digest,
                run_id=metadata["invocationId"],
                started=metadata["startedOn"],
            )
        except (KeyError, IndexError, TypeError, ValidationError) as error:
            raise UserError(
                f"{path} is damaged or not the provenance of a release: `dvc repro` rewrites it"
            ) from error


def provenance(
    workspace: Workspace, params: Params, snapshot: Snapshot, name: str
) -> dict[str, Any]:
    """The provenance of the file `name`: an in-toto statement with a SLSA v1 predicate."""
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
        "detector": snapshot.export.detector_sha256,
    }
    if training.feedback_sha256:
        dependencies[workspace.name(workspace.feedback)] = training.feedback_sha256
    if training.requirements_sha256:
        dependencies[workspace.name(workspace.requirements)] = training.requirements_sha256
    settings = params.model_dump(mode="json", include=set(STAGES)) | {"train": training.params}
    reports = [
        workspace.training_report,
        workspace.detector_report,
        workspace.calibration_report,
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
    """What ran the stages: a GitHub workflow, or a checkout."""
    server, workflow = variables.GITHUB_SERVER_URL.get(), variables.GITHUB_WORKFLOW_REF.get()
    return CHECKOUT if server is None or workflow is None else f"{server}/{workflow}"


def repository(root: Path) -> str | None:
    """The URL of git's remote `origin` in SPDX form; None if it is not on the network."""
    command = ["git", "config", "--get", "remote.origin.url"]
    try:
        result = subprocess.run(command, check=True, capture_output=True, cwd=root)
        found = result.stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    if scp := re.fullmatch(r"(?:[^@/]+@)?([^@/:[]{2,}|\[[^]]+\]):(?!:|//)(.+)", found):
        found = f"ssh://{scp[1]}/{scp[2].lstrip('/')}"
    if not re.match("(https?|ssh|git)://", found, re.IGNORECASE):
        return None  # a local folder
    return f"git+{without_password(found)}"


def _source(root: Path, revision: str) -> dict[str, Any]:
    """The repository as a dependency. Its digest is the commit, without `-dirty`, if known."""
    commit = revision.removesuffix("-dirty")
    digest = {} if commit == "unknown" else {"digest": {"gitCommit": commit}}
    address = repository(root)
    uri = {"uri": address} if address else {}
    return {"name": "source", **uri, **digest, "annotations": {"revision": revision}}
