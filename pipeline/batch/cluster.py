"""Scoring on a Ray cluster whose machines share the input and output folders.

Ray Data assigns a shard to each free core, and reassigns the shards of a lost machine. A shard that
is scored twice does no harm: an identical file replaces the first one.
"""

import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

import pipeline
from pipeline.batch.readers.shards import Shards
from pipeline.batch.worker import score_shard
from pipeline.core import variables
from pipeline.core.errors import UserError, first_line
from pipeline.inference.classifier import Classifier

RETRIES = 5  # for a shard whose process or machine was lost
HTTP2_SETTINGS = b"\x04"  # the type of the first frame from each side (RFC 9113), also in gRPC
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + HTTP2_SETTINGS + bytes(5)


def score_on_cluster(
    address: str,
    shards: Shards,
    classifier: Classifier,
    missing: dict[int, Path],
    shared: list[Path],
) -> Iterator[int]:
    """Score shards into the files `missing`; yields the number of images of each.

    UserError if this machine does not belong to the cluster, if a machine of the cluster does not
    see the paths `shared` or fails, or if the input cannot be used.
    """
    if not missing:
        return
    stop = signal.getsignal(signal.SIGTERM)
    _join(address)
    signal.signal(signal.SIGTERM, stop)  # Ray has replaced it
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a shard of large pictures takes long
        rows = [{"shard": shard, "path": os.fsencode(path)} for shard, path in missing.items()]
        tasks = ray.data.from_items(rows, override_num_blocks=len(rows))
        with warnings.catch_warnings():  # Ray Data has no other way to set retries yet
            warnings.simplefilter("ignore", RayDeprecationWarning)
            results = tasks.map(partial(_scored, shards, classifier, shared), max_retries=RETRIES)
        for result in results.iter_rows():
            if result["error"]:
                raise UserError(result["error"])
            yield result["images"]
    except RayError as error:
        raise UserError(f"the Ray cluster at {address} failed: {first_line(error)}") from error
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    variables.RAY_TIMEOUT.set_default()  # if it is not a head node
    try:
        _probe(address)
        ray.init(
            address,
            runtime_env={"py_modules": [pipeline]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, OverflowError, RuntimeError, ValueError, RayError) as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(f"the Ray cluster at {address} cannot be used: {reason}") from error


def _probe(address: str) -> None:
    """ValueError or OSError if this is not a head node: Ray would try to reach it for minutes."""
    if not address:
        raise ValueError("the address is empty: is a variable not set?")
    scheme, separator, rest = address.rpartition("://")
    if separator:
        host = rest.partition("/")[0].rpartition(":")[0] or rest
        raise ValueError(
            f"give the address of the head node without {scheme}://, as in {host}:6379"
        )
    host, _, port = address.rpartition(":")
    if not port.isdigit() or variables.RAY_USE_TLS.get() == "1":
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
        connection.sendall(HTTP2_PREFACE)
        answer = connection.recv(9)
    if answer[3:4] != HTTP2_SETTINGS:
        raise ValueError("the server there is not a Ray head node, which usually listens on 6379")


def _scored(
    shards: Shards, classifier: Classifier, shared: list[Path], row: dict[str, Any]
) -> dict[str, Any]:
    """Score a shard on a machine of the cluster."""
    machine = f"machine {socket.gethostname()} of the cluster"
    try:
        for path in shared:
            if not path.exists():
                error = f"{machine} does not have {path}: put it on storage that all machines share"
                return {"images": 0, "error": error}
        images = sum(score_shard(shards, row["shard"], classifier, Path(os.fsdecode(row["path"]))))
    except UserError as error:
        return {"images": 0, "error": str(error)}
    except OSError as error:
        return {"images": 0, "error": f"{machine} failed: {error}"}
    return {"images": images, "error": ""}
