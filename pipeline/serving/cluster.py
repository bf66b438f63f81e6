"""Scoring on a Ray cluster, whose machines share the folders of input and output.

Ray Data gives a shard to each free core, and what a lost machine had to others. A shard that is
scored twice by that does no harm: its file is replaced by one like it.
"""

import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pipeline
from pipeline.errors import UserError, first_line
from pipeline.serving.classifier import Classifier
from pipeline.serving.score import score_shard
from pipeline.serving.shards import Shards

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise UserError(f"--ray needs the package {error.name}: pip install 'ray[data]'") from error


def score_on_cluster(
    address: str,
    shards: Shards,
    classifier: Classifier,
    missing: dict[int, Path],
    shared: list[Path],
) -> Iterator[int]:
    """Score shards into the files `missing`; yields the number of images of each.

    UserError if the cluster is not there, if a machine of it does not see the paths `shared`, or if
    the input cannot be used.
    """
    if not missing:
        return
    _join(address)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"shard": shard, "path": str(path)} for shard, path in missing.items()]
        tasks = ray.data.from_items(rows, override_num_blocks=len(rows))
        for result in tasks.map(partial(_scored, shards, classifier, shared)).iter_rows():
            if result["error"]:
                raise UserError(result["error"])
            yield result["images"]
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), timeout=5).close()  # Ray tries for minutes
        ray.init(
            address,
            runtime_env={"py_modules": [pipeline]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the Ray cluster at {address} cannot be used: {first_line(error)}"
        ) from error


def _scored(
    shards: Shards, classifier: Classifier, shared: list[Path], row: dict[str, Any]
) -> dict[str, Any]:
    """Score a shard on a machine of the cluster."""
    for path in shared:
        if not path.exists():
            error = f"{socket.gethostname()}, a machine of the cluster, does not have {path}"
            return {"images": 0, "error": f"{error}: it must be on storage that all share"}
    try:
        images = sum(score_shard(shards, row["shard"], classifier, Path(row["path"])))
    except UserError as error:
        return {"images": 0, "error": str(error)}
    return {"images": images, "error": ""}
