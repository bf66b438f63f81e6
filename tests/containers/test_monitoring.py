"""docker/stack with the profile `monitoring`: the service, its journal, and what watches it."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
import requests
from safetensors.numpy import save_file

from benchmarks.servers import free_port
from pipeline.journal.reading import entries, votes
from tests.checkout import PROJECT, Checkout, needs_model
from tests.containers.engine import engine, inspect, output_of, owners, with_docker
from tests.digits import Images
from tests.servers import wait_until
from tests.services import INFER, binary_request, metric

pytestmark = [pytest.mark.timeout(600), needs_model]
PROJECT_NAME = "gated-mnist-watched"
IMAGES = 520  # more than a window


class Watched:
    """The service and the monitor of the stack, on a small checkout with the released model."""

    def __init__(self, workspace: Checkout) -> None:
        self.workspace, port = workspace, free_port()
        self.url = f"http://127.0.0.1:{port}"
        workspace.environment |= {
            "COMPOSE_PROJECT_NAME": PROJECT_NAME,
            "COMPOSE_PROFILES": "monitoring",
            "SERVE_PORT": str(port),
        }
        self.journal = workspace.path / "journal"

    def name(self, service: str) -> str:
        """The name of a service's container."""
        names = output_of("ps", "--all", "--format", "{{.Names}}").split()
        (found,) = (
            each for each in names if re.fullmatch(f"{PROJECT_NAME}[-_]{service}[-_]1", each)
        )
        return found

    def restart(self, service: str) -> None:
        """Kill a container and start it again."""
        output_of("kill", self.name(service))
        wait_until(lambda: inspect("container", self.name(service))["State"]["Status"] == "exited")
        output_of("start", self.name(service))

    def ready(self) -> bool:
        """Whether the service answers."""
        try:
            return requests.get(f"{self.url}/v2/health/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def count(self) -> int:
        """How many entries the journal has."""
        return sum(batch.num_rows for batch in entries(self.journal, columns=["id"]))

    def send(self, images: Images) -> str:
        """Send images to the service; the id of the first."""
        body, headers = binary_request(images)
        answer = requests.post(f"{self.url}{INFER}", body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.headers["Journal-Id"]

    def figures(self) -> str:
        """The metrics that the monitor has written."""
        return engine("exec", self.name("monitor"), "cat", "/data/monitor.prom").stdout


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, mnist: tuple[Images, Images]
) -> Iterator[Watched]:
    """Both services, which need no image but the project's; removed with their volumes."""
    workspace = with_docker(Checkout(tmp_path_factory.mktemp("watched") / "checkout"))
    shutil.copytree(PROJECT / "models", workspace.path / "models")
    workspace.files.calibration_set.parent.mkdir()
    held_out = {"images": mnist[0][5000:6500], "labels": mnist[1][5000:6500]}
    save_file(held_out, workspace.files.calibration_set)
    watched = Watched(workspace)
    try:
        run = workspace.run("docker/stack", "up", "serve", "monitor")
        assert run.returncode == 0, run.stdout + run.stderr
        yield watched
    finally:
        workspace.run("docker/stack", "down", "--volumes")


def test_the_monitor_reads_what_the_service_keeps(
    watched: Watched, mnist: tuple[Images, Images]
) -> None:
    first = watched.send(mnist[0][:IMAGES])
    vote = {"id": first, "label": "1"}
    assert requests.post(f"{watched.url}/feedback", json=vote, timeout=30).ok
    wait_until(lambda: watched.count() == IMAGES and len(votes(watched.journal)) == 1)
    assert owners(watched.journal) == {os.getuid()}
    wait_until(lambda: metric(watched.figures(), "monitor_windows_total") == 1, 150)
    assert metric(watched.figures(), "monitor_waiting_images") == IMAGES - 500
    assert metric(watched.figures(), "monitor_review_images", reason="vote") == 1


def test_killed_containers_resume_with_the_same_journal(
    watched: Watched, mnist: tuple[Images, Images]
) -> None:
    watched.send(mnist[0][:30])
    wait_until(lambda: watched.count() == IMAGES + 30)
    for service in ("serve", "monitor"):
        watched.restart(service)
    wait_until(watched.ready, 60)
    watched.send(mnist[0][:20])
    wait_until(lambda: watched.count() == IMAGES + 50)
    wait_until(lambda: metric(watched.figures(), "monitor_waiting_images") >= 50, 150)
    assert metric(watched.figures(), "monitor_windows_total") == 1
