"""score --ray: the machines of a Ray cluster share the shards, and losing one loses no work."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from pyarrow import parquet

from pipeline.batch import score, worker
from pipeline.batch.readers.opening import open_shards
from pipeline.batch.readers.shards import SHARD
from pipeline.core.errors import UserError
from pipeline.inference import Classifier
from pipeline.mnist import TASK
from pipeline.pictures.batch import Batch
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import Images, make_digits
from tests.servers import wait_until

pytestmark = needs_model
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
# detect a lost node after 3 s instead of 15
HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
IN_PROCESS: list[Any] = []  # in the process of the cluster: the cluster and the nodes added


class Cluster:
    """A cluster in a separate process, because Ray ends a process whose cluster does not answer.

    Its only node is a head with one core.
    """

    def __init__(self, process: ProcessPoolExecutor) -> None:
        self._process = process
        self.address: str = process.submit(_start_cluster).result()

    def add_node(self) -> None:
        """Add a node with one core."""
        self._process.submit(_add_node).result()

    def lose_node(self) -> None:
        """Kill the node that was added, if there is one."""
        self._process.submit(_lose_node).result()

    def stop(self) -> None:
        """End all nodes."""
        self._process.submit(_stop_cluster).result()


def _start_cluster() -> str:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": HEALTH})
    IN_PROCESS.append(made)
    return str(made.address)


def _add_node() -> None:
    IN_PROCESS.append(IN_PROCESS[0].add_node(**NODE))


def _lose_node() -> None:
    for node in IN_PROCESS[1:]:
        IN_PROCESS[0].remove_node(node, allow_graceful=False)
        IN_PROCESS.remove(node)


def _stop_cluster() -> None:
    IN_PROCESS[0].shutdown()


@contextmanager
def separate_process() -> Iterator[ProcessPoolExecutor]:
    """A separate process, which has not loaded Ray."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        yield process


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster whose only node is a head with one core."""
    with separate_process() as process:
        cluster = Cluster(process)
        yield cluster
        cluster.stop()


@pytest.fixture
def second_node(cluster: Cluster) -> Iterator[None]:
    """A second node in the cluster, until the test ends or loses it."""
    cluster.add_node()
    yield
    cluster.lose_node()


def start(address: str, source: Path, output: Path) -> "subprocess.Popen[str]":
    options = ["--output", str(output), "--model", str(MODEL), "--ray", address]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "score", str(source), *options],
        cwd=output.parent,  # from where the cluster cannot import the code
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shards_in_progress(folder: Path) -> set[str]:
    """The shards that are being scored."""
    return {path.name.split(".")[1] for path in folder.glob("*.partial/*/.0*")}


def check(output: Path, images: Images) -> None:
    """Check that every image appears once, in order, with the label that the model gives here."""
    found = parquet.read_table(output)
    repeats = len(found) // len(images)
    assert found["id"].to_pylist() == [f"in.npy[{n}]" for n in range(len(images) * repeats)]
    assert found["label"].to_pylist() == repeats * Classifier(MODEL).predict(images).labels
    assert sorted(path.name for path in output.parent.iterdir()) == ["in.npy", output.name]


def test_two_nodes_share_the_work_and_scoring_survives_the_loss_of_one(
    cluster: Cluster, second_node: None, tmp_path: Path
) -> None:
    images = make_digits(128, seed=1)[0]
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, np.tile(images, (12 * SHARD // 128, 1, 1)))
    with start(cluster.address, source, output) as scoring:
        wait_until(lambda: len(shards_in_progress(tmp_path)) == 2 or scoring.poll() is not None)
        assert scoring.poll() is None, "only one node was working: use more shards"
        cluster.lose_node()
        said = scoring.communicate()
    assert scoring.returncode == 0, said
    assert said[0].endswith(f"{output}: {12 * SHARD:,} images, all read\n")
    assert parquet.read_metadata(output).num_rows == 12 * SHARD
    check(output, images)


def test_a_cluster_skips_shards_that_this_machine_has_scored(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_digits(128, seed=1)[0]
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, np.tile(images, (2 * SHARD // 128, 1, 1)))
    scored: list[Path] = []

    def stop(*arguments: Any) -> Iterator[int]:
        if scored:
            raise KeyboardInterrupt
        scored.append(arguments[-1])
        yield from score_shard(*arguments)

    score_shard = worker.score_shard
    with monkeypatch.context() as stopped:
        stopped.setattr(score, "score_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            score.run([source], output, str(MODEL), normalise=False)
    (part,) = scored
    written = part.stat().st_mtime_ns
    with start(cluster.address, source, output) as scoring:
        wait_until(lambda: len(shards_in_progress(tmp_path)) == 1, 120)
        assert part.stat().st_mtime_ns == written
        said = scoring.communicate()
    assert "16,384 images" in said[1]
    check(output, images)


def test_invalid_input_is_reported_as_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "in.npy"
    np.save(source, np.full((5, 28, 28), 255.0))
    with start(cluster.address, source, tmp_path / "out.parquet") as scoring:
        said = scoring.communicate()
    assert scoring.returncode == UserError.status
    assert said[1].startswith("error: in.npy: ")
    assert "divide by 255" in said[1]
    assert [str(path) for path in tmp_path.rglob("*")] == [str(tmp_path / "in.npy")]


class Deadly:
    """Shards that kill the process that reads them."""

    fingerprint, images = "", 1

    def __len__(self) -> int:
        return 1

    def batches(self, shard: int) -> Iterator[Batch]:
        """Kill the process instead of yielding a batch."""
        os._exit(1)


def score_deadly(address: str, output: Path) -> list[int]:
    """Score a deadly shard on a cluster, with one retry: each starts a process."""
    from pipeline.batch import cluster

    with patch.object(cluster, "RETRIES", 1):
        return list(cluster.score_on_cluster(address, Deadly(), Classifier(MODEL), {0: output}, []))


def test_a_shard_that_kills_its_process_is_not_retried_forever(
    cluster: Cluster, tmp_path: Path
) -> None:
    with (
        separate_process() as process,
        pytest.raises(UserError, match=f"Ray cluster at {cluster.address} failed"),
    ):
        process.submit(score_deadly, cluster.address, tmp_path / "000000.parquet").result()


def test_sigterm_stops_it_as_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    source, output = tmp_path / "in.npy", tmp_path / "out.parquet"
    np.save(source, np.zeros((12 * SHARD, 28, 28), np.uint8))
    with start(cluster.address, source, output) as scoring:
        wait_until(lambda: shards_in_progress(tmp_path) or scoring.poll() is not None)
        scoring.terminate()
        said = scoring.communicate()
    assert scoring.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in said[1]


def test_a_write_error_on_a_machine_is_reported(tmp_path: Path) -> None:
    from pipeline.batch import cluster

    source = tmp_path / "in.npy"
    np.save(source, np.zeros((5, 28, 28), np.uint8))
    shards = open_shards([source], [str(source)], tmp_path, TASK.form, normalise=False)
    row = {"shard": 0, "path": str(source / "000000.parquet")}
    found = cluster._scored(shards, Classifier(MODEL), [source], row)
    assert f" of the cluster failed: [Errno 20] Not a directory: '{source}/" in found["error"]


def test_a_machine_without_the_shared_folders_is_reported(tmp_path: Path) -> None:
    from pipeline.batch import cluster

    source = tmp_path / "in.npy"
    np.save(source, np.zeros((5, 28, 28), np.uint8))
    shards = open_shards([source], [str(source)], tmp_path, TASK.form, normalise=False)
    row = {"shard": 0, "path": str(tmp_path / "elsewhere/000000.parquet")}
    found = cluster._scored(shards, Classifier(MODEL), [source, tmp_path / "elsewhere"], row)
    assert f"does not have {tmp_path}/elsewhere: " in found["error"]
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture(scope="module")
def other_server() -> Iterator[int]:
    """The port of a server that is not a Ray head, such as Ray's dashboard."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:{port}", "refused"),
        ("[::1]:{port}", "refused|Cannot assign"),
        ("nonsense", "Invalid address"),
        ("", "empty"),
        ("ray://head:10001", "head:6379"),
        ("http://head:8265/", "head:6379"),
        ("127.0.0.1:{other}", "not a Ray head"),
    ],
)
def test_an_unreachable_cluster_is_reported_at_once(
    tmp_path: Path, other_server: int, address: str, said: str
) -> None:
    np.save(tmp_path / "in.npy", np.zeros((5, 28, 28), np.uint8))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free_port = listener.getsockname()[1]
    address = address.format(port=free_port, other=other_server)
    with pytest.raises(UserError, match=f"{re.escape(address)} cannot be used: .*({said})"):
        score.run(
            [tmp_path / "in.npy"], tmp_path / "out", str(MODEL), normalise=False, cluster=address
        )
    assert [str(path) for path in tmp_path.rglob("*")] == [str(tmp_path / "in.npy")]


def test_without_ray_the_error_names_the_extra_to_install(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((5, 28, 28), np.uint8))
    program = (
        "import sys; sys.modules['ray'] = None; from pipeline.cli import main\n"
        "sys.argv[1:] = ['score', 'in.npy', '-o', 'out', '--ray', 'auto', '--model', sys.argv[1]]\n"
        "main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(MODEL)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert "the package ray is not installed: install the extra ray" in result.stderr
