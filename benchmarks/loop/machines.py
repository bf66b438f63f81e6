"""The servers of the story: Prefect with its worker and deployments, and the service."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.servers import free_port
from pipeline.core.errors import UserError
from tests.checkout import Checkout

LONGEST = 240.0  # seconds to wait for anything
POOL = "local"


class Machines:
    """Starts the servers in a workspace and talks to them; `stop` ends them all."""

    def __init__(self, project: Checkout, home: Path) -> None:
        self.project, self.log = project, (home / "servers.log").open("a")
        self.port, api_port = free_port(), free_port()
        self.url, self._api = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{api_port}/api"
        self.review_token = secrets.token_hex(16)
        project.environment |= {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_PROFILES_PATH": os.devnull,
            "PREFECT_API_URL": self._api,
            "PREFECT_SERVER_API_PORT": str(api_port),
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "1",
            "PIPELINE_REVIEW_TOKEN": self.review_token,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starters: dict[str, list[str]] = {
            "server": ["prefect", "server", "start"],
            "worker": ["prefect", "worker", "start", "--pool", POOL, "--type", "process"],
            "service": [
                *("pipeline", "serve", "--port", str(self.port), "--workers", "2"),
                *("--journal", "journal", "--challenger", "trial"),
            ],
        }

    def start(self, name: str) -> None:
        """Start `server`, `worker` or `service`."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", *self._starters[name]],
            cwd=self.project.path,
            env=self.project.environment,
            stdout=self.log,
            stderr=self.log,
        )

    def start_prefect(self) -> None:
        """Start server and worker, with the deployments of prefect.yaml."""
        self.start("server")
        wait_for("Prefect's server", lambda: _answers(f"{self._api}/health"))
        self.command("work-pool", "create", "--type", "process", POOL)
        for deployment in ("monitor", "retrain"):
            self.command("--no-prompt", "deploy", "--name", deployment)
        self.start("worker")

    def start_service(self) -> None:
        """Start the service with its journal."""
        self.start("service")
        wait_for("the service", lambda: _answers(f"{self.url}/v2/health/ready"))

    def command(self, *arguments: str) -> None:
        """Run `prefect` with these arguments."""
        result = self.project.run(sys.executable, "-m", "prefect", *arguments)
        if result.returncode != 0:
            raise UserError(f"`prefect {' '.join(arguments)}` failed: {result.stderr[-500:]}")

    def run_monitor(self, **parameters: Any) -> dict[str, Any]:
        """Run the deployment `monitor` once; the final state."""
        return self.run("monitor/monitor", **parameters)

    def run(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """Run a deployment, and wait for its end; the final state."""
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        made = self._post(f"deployments/{identifier}/create_flow_run", parameters=parameters)
        wait_for(deployment, lambda: self._get(f"flow_runs/{made['id']}")["end_time"])
        state: dict[str, Any] = self._get(f"flow_runs/{made['id']}")["state"]
        return state

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment, oldest first."""
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        query = {"deployments": {"id": {"any_": [identifier]}}, "sort": "START_TIME_ASC"}
        found: list[dict[str, Any]] = self._post("flow_runs/filter", **query)
        return found

    def approve(self) -> bool:
        """Approve the release for which a run of `retrain` has paused; whether there was one."""
        for run in self.runs("retrain/retrain"):
            if run["state"]["type"] == "PAUSED":
                answer = {"promote": True, "reason": "approved by a person"}
                self._post(f"flow_runs/{run['id']}/resume", run_input=answer)
                return True
        return False

    def kill(self, name: str) -> None:
        """Kill a server and its children with SIGKILL."""
        process = self.processes[name]
        children: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def stop(self) -> None:
        """Stop everything that runs."""
        for name in ("worker", "service", "server"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                continue
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            self.kill(name)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.log.close()

    def _get(self, path: str) -> Any:
        response = requests.get(f"{self._api}/{path}", timeout=30)
        response.raise_for_status()
        return response.json()

    def _post(self, path: str, **body: Any) -> Any:
        response = requests.post(f"{self._api}/{path}", json=body, timeout=30)
        response.raise_for_status()
        return response.json()


def wait_for(what: str, condition: Callable[[], object], seconds: float = LONGEST) -> None:
    """Wait until a condition holds. UserError if it does not in this time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise UserError(f"{what}: nothing happened in {seconds:.0f} s")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
