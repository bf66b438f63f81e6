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
from tests.checkout import PROJECT, Checkout

LONGEST = 600.0  # seconds to wait for anything
LOST = 90.0  # seconds after which a pending run counts as lost
PAUSE = 5.0  # seconds before something is tried again
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
        self.command("automation", "create", "--from-file", str(PROJECT / "docker/automation.yaml"))
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
        """Run a deployment, and wait for its end; the final state. A lost run is repeated."""
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        end = time.monotonic() + LONGEST
        while True:
            made = self._post(f"deployments/{identifier}/create_flow_run", parameters=parameters)
            state = self._finish(str(made["id"]))
            if state["type"] == "COMPLETED" or time.monotonic() > end:
                return state
            time.sleep(PAUSE)

    def _finish(self, run: str) -> dict[str, Any]:
        """Wait for the end of a flow run; its final state.

        A run whose worker is killed while it submits the run stays pending, and nobody else may
        run the deployment: it is then marked as crashed, as a person would.
        """
        begun = time.monotonic()

        def has_ended() -> object:
            found = self._get(f"flow_runs/{run}")
            if found["state"]["type"] == "PENDING" and time.monotonic() > begun + LOST:
                state = {"type": "CRASHED", "message": "its worker was killed"}
                self._post(f"flow_runs/{run}/set_state", state=state, force=True)
            return found["end_time"]

        wait_for("the end of a run", has_ended)
        state: dict[str, Any] = self._get(f"flow_runs/{run}")["state"]
        return state

    def submit(self, deployment: str) -> None:
        """Run a deployment, as its schedule would, and do not wait."""
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        self._post(f"deployments/{identifier}/create_flow_run")

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

    def restart(self, name: str) -> None:
        """Kill a server with SIGKILL, not its children, and start it again until it runs."""
        self.processes[name].kill()
        self.processes[name].wait()
        while True:
            self.start(name)
            time.sleep(PAUSE)
            if self.processes[name].poll() is None:  # else the port is not free yet
                return

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
            process.kill()
            process.wait()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.log.close()

    def _get(self, path: str) -> Any:
        return self._call("GET", path)

    def _post(self, path: str, **body: Any) -> Any:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """Call Prefect's API, again while the server does not answer."""
        end = time.monotonic() + LONGEST
        while True:
            try:
                response = requests.request(method, f"{self._api}/{path}", timeout=30, **options)
                response.raise_for_status()
                return response.json() if response.content else None
            except requests.RequestException:
                if time.monotonic() > end:
                    raise
            time.sleep(1)


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
