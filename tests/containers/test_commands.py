"""The calls that the commands in docker/ make to an engine, which is a stub here."""

import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import PROJECT

SECRETS = ["postgres_password", "mlflow.env", "prefect.toml"]
GPUS = {"docker": "--gpus all", "podman": "--device nvidia.com/gpu=all"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with docker/ and a space in its path."""
    folder = tmp_path / "a checkout"
    shutil.copytree(PROJECT / "docker", folder / "docker", ignore=shutil.ignore_patterns("secrets"))
    (folder / ".dvc").mkdir()
    return folder


def stubs(folder: Path, *names: str) -> Path:
    """Create programs with these names that print their arguments; return the folder."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
        (folder / name).chmod(0o755)
    return folder


def run(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONTAINER_")}
    return subprocess.run(
        words, cwd=checkout, env=environment | variables, capture_output=True, text=True
    )


@pytest.mark.parametrize("engine", GPUS)
def test_gpus_are_passed_to_the_container(checkout: Path, tmp_path: Path, engine: str) -> None:
    programs = stubs(tmp_path / "bin", engine, "nvidia-smi")
    settings = {"CONTAINER_ENGINE": engine, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def said(**variables: str) -> str:
        result = run(checkout, "docker/run", "true", **settings, **variables)
        assert result.returncode == 0, result.stderr
        return " ".join(result.stdout.splitlines())

    assert GPUS[engine] in said()
    assert GPUS[engine] not in said(CONTAINER_GPU="none")
    (programs / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")  # a driver without a GPU
    assert GPUS[engine] not in said()


def test_the_container_mounts_the_checkout_as_its_owner_without_privileges(
    checkout: Path, tmp_path: Path
) -> None:
    engine = stubs(tmp_path / "bin", "docker") / "docker"
    words = run(checkout, "docker/run", "true", CONTAINER_ENGINE=str(engine)).stdout.splitlines()
    assert f"{checkout}:{checkout}" in words
    owner = checkout.stat()
    assert words[words.index("--user") + 1] == f"{owner.st_uid}:{owner.st_gid}"
    assert {"--read-only", "ALL", "no-new-privileges"} <= set(words)
    assert words[-2:] == ["gated-mnist:train", "true"]


@pytest.mark.parametrize(
    ("terminals", "options"),
    [
        ("", ["--interactive"]),
        ("output", ["--interactive"]),
        ("input", []),  # it would swallow what is typed into the shell
        ("input and output", ["--interactive", "--tty"]),
    ],
)
def test_standard_input_reaches_the_command(
    checkout: Path, tmp_path: Path, terminals: str, options: list[str]
) -> None:
    engine = stubs(tmp_path / "bin", "docker") / "docker"
    engine.write_text(
        '#!/bin/sh\nfor word; do echo "$word"; done >"$SAID"\n[ "$1" != run ] || cat >>"$SAID"\n'
    )
    said = tmp_path / "said"
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            ["docker/run", "wc"],
            cwd=checkout,
            env=os.environ | {"CONTAINER_ENGINE": str(engine), "SAID": str(said)},
            stdin=theirs if "input" in terminals else subprocess.PIPE,
            stdout=theirs if "output" in terminals else subprocess.DEVNULL,
        )
        if process.stdin is None:
            os.write(ours, b"some text\n\4")
        else:
            process.communicate(b"some text\n")
        assert process.wait() == 0
    finally:
        os.close(ours)
        os.close(theirs)
    words = said.read_text().splitlines()
    assert {"--interactive", "--tty"} & set(words) == set(options)
    assert words[-2:] == ["wc", "some text"]


def test_the_proxy_settings_are_passed_on(checkout: Path, tmp_path: Path) -> None:
    engine = stubs(tmp_path / "bin", "docker") / "docker"
    names = ("HTTP_PROXY", "https_proxy", "NO_PROXY", "all_proxy")
    proxies = dict.fromkeys(names, "http://me:hidden@proxy")
    said = run(checkout, "docker/run", "true", CONTAINER_ENGINE=str(engine), **proxies).stdout
    assert {f"--env\n{name}\n" in said for name in proxies} == {True}
    assert "hidden" not in said


def test_the_history_of_a_git_worktree_is_readable(checkout: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        run(tmp_path / "clone", "git", *who, *words).check_returncode()

    def mounted(folder: Path) -> set[str]:
        engine = stubs(tmp_path / "bin", "docker") / "docker"
        words = run(folder, "docker/run", "true", CONTAINER_ENGINE=str(engine)).stdout.splitlines()
        return {words[at + 1] for at, word in enumerate(words) if word == "--volume"}

    checkout.rename(tmp_path / "clone")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    git("worktree", "add", "--quiet", "--detach", "../a worktree")
    (tmp_path / "a worktree/.dvc").mkdir(exist_ok=True)
    history = tmp_path / "clone/.git"
    assert f"{history}:{history}:ro" in mounted(tmp_path / "a worktree")
    assert not [words for words in mounted(tmp_path / "clone") if words.startswith(str(history))]


def test_secrets_in_the_environment_stay_off_the_command_line(
    checkout: Path, tmp_path: Path
) -> None:
    engine = stubs(tmp_path / "bin", "docker") / "docker"
    secret = {"MLFLOW_TRACKING_PASSWORD": "hidden", "UNRELATED": "hidden"}
    said = run(checkout, "docker/run", "true", CONTAINER_ENGINE=str(engine), **secret).stdout
    assert "--env\nMLFLOW_TRACKING_PASSWORD\n" in said
    assert "hidden" not in said
    assert "UNRELATED" not in said


@pytest.mark.parametrize("command", ["docker/build", "docker/run true", "docker/stack up"])
def test_a_missing_engine_is_a_one_line_error_with_exit_status_2(
    checkout: Path, command: str
) -> None:
    result = run(checkout, *command.split(), CONTAINER_ENGINE="no-such-engine")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "no-such-engine" in line


def test_passwords_are_generated_once_and_are_private(checkout: Path, tmp_path: Path) -> None:
    engine = stubs(tmp_path / "bin", "docker") / "docker"
    files = [checkout / "docker/secrets" / name for name in SECRETS]

    def passwords() -> list[str]:
        command = "umask 077; docker/stack ps"
        run(checkout, "bash", "-c", command, CONTAINER_ENGINE=str(engine)).check_returncode()
        return [file.read_text() for file in files]

    first = passwords()
    assert len(first[0]) == 48
    assert passwords() == first
    assert (checkout / "docker/secrets").stat().st_mode & 0o777 == 0o700
    for file in (*files, checkout / "docker/postgres.sql"):
        assert file.stat().st_mode & 0o444 == 0o444
    profile = tomllib.loads(first[2])
    (server, client) = (
        profile["profiles"][profile["active"]][f"PREFECT_{whose}API_AUTH_STRING"]
        for whose in ("SERVER_", "")
    )
    assert server == client
    assert len(server) == len("pipeline:") + 48
    assert re.search("^MLFLOW_TRACKING_PASSWORD=[0-9a-f]{48}$", first[1], re.MULTILINE)


@pytest.mark.parametrize("name", SECRETS)
def test_an_empty_password_from_an_interrupted_start_is_replaced(checkout: Path, name: str) -> None:
    secrets = checkout / "docker/secrets"
    secrets.mkdir()
    (secrets / name).touch()
    run(checkout, "docker/draw-secrets").check_returncode()
    assert len((secrets / name).read_text()) >= 48
    assert {file.name for file in secrets.iterdir()} == set(SECRETS)


class Healthy(BaseHTTPRequestHandler):
    """A server that answers only health checks."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def healthy() -> Iterator[str]:
    """The API URL of a healthy server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


NOWHERE = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def test_a_health_check_bypasses_the_proxy(checkout: Path, healthy: str) -> None:
    def status(address: str) -> int:
        return run(checkout, sys.executable, "docker/healthy", address, **NOWHERE).returncode

    assert status(f"{healthy}/health") == 0
    assert status(f"{healthy}/other") == 1


def test_a_worker_refused_by_its_server_ends_with_the_error(
    checkout: Path, tmp_path: Path, healthy: str
) -> None:
    programs = stubs(tmp_path / "bin", "prefect")
    (programs / "prefect").write_text("#!/bin/sh\necho 401 Unauthorized >&2; exit 1\n")
    (programs / "python").symlink_to(sys.executable)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "PREFECT_API_URL": healthy} | NOWHERE
    run(checkout, "docker/draw-secrets").check_returncode()
    service, login = checkout / "docker/service", checkout / "docker/secrets/mlflow.env"
    service.write_text(service.read_text().replace("/run/secrets/mlflow_login", f"'{login}'"))
    result = run(checkout, "docker/service", "worker", **settings)
    assert result.returncode == 1
    assert result.stderr == "401 Unauthorized\n"


def test_stopping_a_stack_that_is_not_up_is_silent(checkout: Path, tmp_path: Path) -> None:
    programs = stubs(tmp_path / "bin", "podman-compose")
    podman = programs / "podman"
    settings = {"CONTAINER_ENGINE": "podman", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def said(*words: str) -> str:
        podman.chmod(0o755)
        result = run(checkout, "docker/stack", *words, **settings)
        assert result.returncode == 0
        return result.stdout + result.stderr

    podman.write_text("#!/bin/sh\n")
    assert said("down") == ""
    assert said("down", "--volumes").endswith("down\n--volumes\n")  # volumes may remain
    podman.write_text("#!/bin/sh\necho 0123\n")
    assert said("down").endswith("down\n")
