"""Prometheus and Alertmanager, as Debian has them, with the project's rules and routes."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from benchmarks.servers import free_port
from tests.checkout import PROJECT
from tests.servers import wait_until

FOLDER = PROJECT / "docker/monitoring"
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)),
    reason="Prometheus or Alertmanager is not installed: make debian",
)


def test_the_rules_and_the_configuration_are_valid() -> None:
    for command in (
        ["promtool", "test", "rules", "alerts_test.yml"],
        ["promtool", "check", "config", "prometheus.yml"],
        ["amtool", "check-config", "alertmanager.yml"],
    ):
        run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


class Answers(BaseHTTPRequestHandler):
    """Metrics for Prometheus, and the notifications of Alertmanager, by path."""

    metrics = b"monitor_drift 1\nmonitor_quality_fell 1\n"
    received: list[tuple[str, dict[str, Any]]]

    def do_GET(self) -> None:
        self._answer(self.metrics)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, json.loads(body)))
        self._answer(b"")

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def program(*command: str) -> Iterator[None]:
    """Run a program within the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_an_alert_reaches_the_receiver_of_its_severity(tmp_path: Path) -> None:
    """The rules and the route are the project's, with shorter intervals and webhooks."""
    Answers.received = []
    with ExitStack() as stack:
        server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Answers))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        here = f"127.0.0.1:{server.server_port}"
        prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(2))

        settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
        settings["scrape_configs"][-1]["static_configs"] = [{"targets": [here]}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
        shutil.copy(FOLDER / "alerts.yml", tmp_path)
        routes = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
        for route in (routes["route"], *routes["route"]["routes"]):
            route["group_wait"] = "0s"
        for receiver in routes["receivers"]:
            url = f"http://{here}/{receiver['name']}"
            receiver["webhook_configs"] = [{"url": url, "send_resolved": False}]
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(routes))

        stack.enter_context(program(
            "prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/alertmanager", f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        ))  # fmt: skip
        stack.enter_context(program(
            "prometheus", f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={prometheus}",
        ))  # fmt: skip
        wait_until(lambda: {"/tickets", "/pager"} <= {path for path, _ in Answers.received})
        firing = requests.get(f"http://{prometheus}/api/v1/alerts", timeout=10).json()
    found = {path: {alert["labels"]["alertname"] for alert in content["alerts"]}
             for path, content in Answers.received}  # fmt: skip
    assert found == {"/tickets": {"InputDrift"}, "/pager": {"AccuracyFell"}}
    states = {alert["labels"]["alertname"]: alert["state"] for alert in firing["data"]["alerts"]}
    assert states["InputDrift"] == states["AccuracyFell"] == "firing"
