"""release: what passed the gate becomes models/, whole or not at all, and MLflow's champion."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import paths
from pipeline.errors import RefusedError
from pipeline.files import (
    existing,
    read_csv,
    read_json,
    read_tensors,
    replace_directory,
    sha256,
    write_json,
    write_text,
)
from pipeline.mnist.comparison import mcnemar
from pipeline.params import Params
from pipeline.serving.session import OnnxModel
from pipeline.tracking import background

CARD_TEMPLATE = "MODEL_CARD.md.j2"
BUILD_TYPE = "https://dvc.org/doc/user-guide/project-structure/dvcyaml-files"
STAGES = ["fetch", "prepare", "train", "export", "evaluate", "gate", "release"]


def run(params: Params) -> None:
    """Replace models/ and register it. RefusedError, with nothing changed, if it may not be."""
    require_passed_gate()
    compare_with_released(params)
    paths.RELEASES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.MODEL.parent, prefix="release-") as scratch:
        new = Path(scratch) / paths.RELEASES
        new.mkdir()
        shutil.copyfile(paths.MODEL, new / paths.RELEASED_MODEL.name)
        write_text(new / paths.MODEL_CARD.name, model_card(params))
        write_json(new / paths.PROVENANCE.name, provenance(params))
        background.promote(paths.MODEL)
        names = [paths.RELEASED_MODEL.name, paths.MODEL_CARD.name, paths.PROVENANCE.name]
        checksums = "".join(f"{sha256(new / name)}  {name}\n" for name in names)
        write_text(new / paths.CHECKSUMS.name, checksums)
        replace_directory(new, paths.RELEASES)
    print(f"released {paths.RELEASED_MODEL}, SHA-256 {sha256(paths.RELEASED_MODEL)}")
    background.publish()


def require_passed_gate() -> None:
    """RefusedError unless the gate passed, and passed this very file."""
    verdict = read_json(paths.GATE_REPORT)
    if not isinstance(verdict, dict) or verdict.get("passed") is not True:
        raise RefusedError(
            f"{paths.GATE_REPORT} does not say that the gate passed: nothing is released"
        )
    if verdict.get("model_sha256") != sha256(paths.MODEL):
        raise RefusedError(
            f"{paths.GATE_REPORT} is about another file than {paths.MODEL}: run `dvc repro`"
        )


def compare_with_released(params: Params) -> None:
    """RefusedError if the released model is significantly better on the test set (McNemar)."""
    if not paths.RELEASED_MODEL.exists():
        return
    test = read_tensors(paths.TEST)
    batch_size = params.evaluate.batch_size
    old, new = (
        OnnxModel(path).run(test["images"], batch_size)[0].argmax(1) == test["labels"]
        for path in (paths.RELEASED_MODEL, paths.MODEL)
    )
    result = mcnemar(old, new)
    worse = result["only_old_right"] > result["only_new_right"]
    comparison = (
        f"only the released model is right on {result['only_old_right']} test images, only the "
        f"new one on {result['only_new_right']}, McNemar p = {result['p_value']:.3g}"
    )
    print(comparison)
    if worse and result["p_value"] < params.release.significance:
        if not params.release.allow_regression:
            raise RefusedError(
                f"the released model is significantly better: {comparison}; "
                "release.allow_regression in params.yaml would release it all the same"
            )
        print("released all the same: release.allow_regression is true")


def model_card(params: Params) -> str:
    """The model card, in Markdown with Hugging Face metadata."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return environment.get_template(CARD_TEMPLATE).render(
        params=params,
        model=paths.RELEASED_MODEL.name,
        sha256=sha256(paths.MODEL),
        training=read_json(paths.SUMMARY),
        export=read_json(paths.EXPORT_REPORT),
        evaluation=read_json(paths.METRICS) | read_json(paths.SUBJECT),
        speed=read_json(paths.SPEED),
        classes=read_csv(paths.EVALUATION / "classes.csv"),
        gate=read_json(paths.GATE_REPORT),
    )


def provenance(params: Params) -> dict[str, Any]:
    """What was built from what, as an in-toto statement with a SLSA provenance predicate, v1."""
    training = read_json(paths.SUMMARY)
    sources = {
        **{f"data/raw/{name}": digest for name, digest in params.fetch.files.items()},
        **{path.as_posix(): sha256(path) for path in (paths.TRAIN, paths.TEST)},
        **{f"pipeline/mnist/{name}.py": digest for name, digest in training["code_sha256"].items()},
        "requirements.txt": sha256(existing(Path("requirements.txt"))),
        "weights": training["weights_sha256"],
    }
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
                    "params": params.model_dump(mode="json", include=set(STAGES)),
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
                "builder": {"id": "https://dvc.org"},
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


def _source(revision: str) -> dict[str, Any]:
    """The repository as a dependency; only a commit is a digest, `-dirty` and `unknown` are not."""
    commit = revision.removesuffix("-dirty")
    digest = {} if commit == "unknown" else {"digest": {"gitCommit": commit}}
    return {"uri": "git+file:.", **digest, "annotations": {"revision": revision}}
