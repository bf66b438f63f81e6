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
REPEATED = 300.0  # seconds between two runs of a schedule in prefect.yaml
PAUSE = 5.0  # seconds before something is tried again
POOL = "local"
SERVERS = ("service", "worker", "server")
RUNS = ("monitor", "retrain")  # deployments
UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING")  # states of a run that goes on without a person


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
        self.command("--no-prompt", "deploy", *(f"--name={deployment}" for deployment in RUNS))
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
        """Wait for the end of a flow run, or until its schedule repeats it; its state."""
        with suppress(UserError):
            wait_for(
                "the end of a run", lambda: self._get(f"flow_runs/{run}")["end_time"], REPEATED
            )
        state: dict[str, Any] = self._get(f"flow_runs/{run}")["state"]
        return state

    def submit(self, deployment: str, **parameters: Any) -> None:
        """Run a deployment as its schedule would, unless a run goes on, and do not wait."""
        if any(run["state"]["type"] in UNFINISHED for run in self.runs(deployment)):
            return
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        self._post(f"deployments/{identifier}/create_flow_run", parameters=parameters)

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment, oldest first."""
        identifier = self._get(f"deployments/name/{deployment}")["id"]
        query = {"deployments": {"id": {"any_": [identifier]}}, "sort": "START_TIME_ASC"}
        found: list[dict[str, Any]] = self._post("flow_runs/filter", **query)
        return found

    def approve(self) -> bool:
        """Approve the release about which a run of `retrain` asks; whether one asks."""
        for run in self.runs("retrain/retrain"):
            if run["state"]["type"] == "PAUSED":
                answer = {"promote": True, "reason": "approved by a person"}
                said = self._post(f"flow_runs/{run['id']}/resume", run_input=answer)
                return bool(said["status"] == "ACCEPT")
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

    def kill_run(self, deployment: str) -> bool:
        """Kill the process of a deployment's run with SIGKILL; whether there was one.

        Its children live: the project has to end them.
        """
        for process in psutil.Process(self.processes["worker"].pid).children():
            with suppress(psutil.Error, requests.RequestException):
                run = process.environ().get("PREFECT__FLOW_RUN_ID")
                if run and self._flow_of(run) == deployment:
                    process.kill()
                    return True
        return False

    def _flow_of(self, run: str) -> str:
        """The name of the flow of a run, which is that of its deployment."""
        flow = self._get(f"flow_runs/{run}")["flow_id"]
        return str(self._get(f"flows/{flow}")["name"])

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
