"""The images match the lock, run without privileges, and stop on SIGTERM."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from benchmarks.servers import free_port
from tests.checkout import PROJECT
from tests.containers.engine import ENGINE, HARDENED, engine, inspect, logs, output_of, stop
from tests.digits import make_digits
from tests.servers import wait_until

TARGETS = ["serve", "train"]
ENVIRONMENT = """
import json, re
from importlib.metadata import distributions
print(json.dumps({re.sub("[-_.]+", "-", d.name).lower(): d.version for d in distributions()}))
"""


def python(target: str, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in an image."""
    image = f"gated-mnist:{target}"
    return engine("run", "--rm", *options, "--entrypoint", "python", image, "-c", code)


@pytest.fixture(scope="module", params=TARGETS)
def environment(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """A target, and the packages in its image with versions."""
    return request.param, json.loads(python(request.param, ENVIRONMENT).stdout)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten printed digits as PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    images, _ = make_digits(10, seed=3)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    folder.chmod(0o755)
    return folder


def test_versions_match_the_lock(environment: tuple[str, dict[str, str]]) -> None:
    target, installed = environment
    lock = "requirements.txt" if target == "train" else "requirements-serve.txt"
    pins = re.findall(r"^(\S+)==(\S+)", (PROJECT / lock).read_text(), re.M)
    assert installed.items() <= set(pins)
    runtime = {name for name in installed if name.startswith("onnxruntime")}
    assert runtime == {
        "onnxruntime-gpu" if target == "train" else "onnxruntime",
        "onnxruntime-ep-openvino",
    }
    large = {"torch", "mlflow", "dvc", "prefect", "onnx"}
    assert large & installed.keys() == (large if target == "train" else set())


def test_the_sbom_lists_the_installed_packages(environment: tuple[str, dict[str, str]]) -> None:
    target, installed = environment
    bill = json.loads((PROJECT / f"sbom/{target}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {
        re.sub("[-_.]+", "-", part["name"]).lower(): part["version"] for part in bill["components"]
    }
    assert listed == installed
    assert bill["serialNumber"]  # attestations require one
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"])


def test_serve_is_small() -> None:
    assert inspect("image", "gated-mnist:serve")["Size"] < 900e6  # including its base image


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_its_labels_and_user(target: str) -> None:
    config = inspect("image", f"gated-mnist:{target}")["Config"]
    assert config["User"] == "1000:1000"
    assert config["StopSignal"] in ("SIGTERM", "15")
    labels = config["Labels"]
    assert target in labels["org.opencontainers.image.title"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_contains_no_leftovers_of_its_build(target: str) -> None:
    image = f"gated-mnist:{target}"
    find = "find /tmp /root /run/secrets /var/lib/apt/lists -type f 2>/dev/null || true"
    left = output_of("run", "--rm", "--user=0", "--entrypoint", "sh", image, "-c", find)
    of_the_base = {".bashrc", ".profile", ".wget-hsts"}
    assert {Path(name).name for name in left.split()} <= of_the_base
    assert "BEGIN CERTIFICATE" not in output_of("history", "--no-trunc", image)
    found = output_of("run", "--rm", "--entrypoint", "find", image, "/pipeline", "-name", "*.pyc")
    assert found == ""


@pytest.mark.parametrize("user", ["1000:1000", "12345:54321"])
def test_serve_reads_digits_without_privileges(pictures: Path, user: str) -> None:
    names = [str(path) for path in sorted(pictures.iterdir())]
    command = ["predict", "--format=jsonl", *names]
    mount = ["--volume", f"{pictures}:{pictures}:ro", "--memory=256m", "--user", user]
    answer = output_of("run", "--rm", *HARDENED, *mount, "gated-mnist:serve", *command)
    here = [sys.executable, "-m", "pipeline", *command]
    expected = subprocess.run(here, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for line, wanted in zip(answer.splitlines(), expected.splitlines(), strict=True):
        given, known = json.loads(line), json.loads(wanted)
        assert given["digit"] == known["digit"]
        np.testing.assert_allclose(given["probabilities"], known["probabilities"], atol=1e-5)


def test_serve_reads_a_picture_from_standard_input(pictures: Path) -> None:
    command = ["run", "--rm", "--interactive", *HARDENED, "gated-mnist:serve", "predict", "-"]
    with (pictures / "7.png").open("rb") as picture:
        assert "confidence" in output_of(*command, stdin=picture)
    result = engine(*command, input="no picture")
    assert result.returncode == 2
    assert "error: - cannot be read as images" in result.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_a_read_only_container_cannot_be_written_to(target: str) -> None:
    result = python(target, "open('/pipeline/models/new', 'w')", "--read-only")
    assert "Read-only file system" in result.stderr


def health_check(target: str) -> list[str]:
    """The words of an image's health check."""
    image = inspect("image", f"gated-mnist:{target}")
    check = image.get("Healthcheck") or image["Config"]["Healthcheck"]
    return list(check["Test"][1:])


def test_the_health_check_of_train_detects_a_broken_container(tmp_path: Path) -> None:
    words = health_check("train")
    command = ["--entrypoint", words[0], "gated-mnist:train", *words[1:]]
    assert engine("run", "--rm", *HARDENED, *command).returncode == 0
    broken = tmp_path / "broken"
    broken.write_text("broken: true")
    mount = ["--volume", f"{broken}:/pipeline/params.yaml:ro"]
    assert engine("run", "--rm", *mount, *HARDENED, *command).returncode != 0


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    """A container with the default command, the service; its name and URL."""
    name, port = "gated-mnist-test-served", free_port()
    limits = [option for option in HARDENED if "network" not in option]
    engine("rm", "--force", name)
    publish = ["--publish", f"127.0.0.1:{port}:8000"]
    proxy = "--env=http_proxy=http://127.0.0.1:9"  # the health check must bypass it
    output_of("run", "--detach", "--name", name, *limits, *publish, proxy, "gated-mnist:serve")
    try:
        yield name, f"http://127.0.0.1:{port}"
    finally:
        engine("rm", "--force", name)


def test_serve_answers_by_http_and_stops_on_sigterm(
    served: tuple[str, str], pictures: Path
) -> None:
    name, address = served
    words = health_check("serve")
    wait_until(lambda: engine("exec", name, *words).returncode == 0)
    answer = requests.post(f"{address}/predict", (pictures / "7.png").read_bytes(), timeout=60)
    assert answer.json()["digit"] == 7
    for path in ("", "docs", "figures/metrics.json", "figures/curves.png", "figures/loss.svg"):
        assert requests.get(f"{address}/{path}", timeout=60).ok
    assert stop(name) == 143  # SIGTERM, not SIGKILL
    assert "stopped by SIGTERM" in logs(name)


def test_a_memory_limit_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Podman writes a file there when memory runs out
    code = "print(len(bytearray(600_000_000)))"
    limits = ["--memory=200m", "--memory-swap=200m"]
    assert python("serve", code).stdout == "600000000\n"
    assert python("serve", code, *limits).returncode == 137  # killed


@pytest.fixture
def waiting() -> Iterator[str]:
    """A container of `serve` that waits for a picture."""
    name = "gated-mnist-test-waiting"
    command = [ENGINE, "run", "--interactive", "--name", name, *HARDENED, "gated-mnist:serve"]
    pipe = subprocess.PIPE
    engine("rm", "--force", name)
    with subprocess.Popen([*command, "predict", "-"], stdin=pipe, stderr=pipe) as process:
        try:
            wait_until(lambda: "predict" in engine("top", name).stdout)
            yield name
        finally:
            engine("rm", "--force", name)
            assert process.stdin is not None
            process.stdin.close()


def test_sigterm_ends_it(waiting: str) -> None:
    assert stop(waiting) == 143


def test_train_runs_without_a_checkout() -> None:
    """The image has its own copy of the project, in which DVC works."""
    command = ["run", "--rm", "--network=none", "gated-mnist:train", "dvc"]
    assert "train" in output_of(*command, "stage", "list", "--name-only").split()
    assert "flowchart" in output_of(*command, "dag", "--mermaid")
    planned = output_of(*command, "repro", "--dry", "backprop")
    assert "Stage 'backprop' didn't change" in planned


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the build context of the images."""
    folder = tmp_path_factory.mktemp("context")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return folder


def build(context: Path, target: str, tag: str) -> subprocess.CompletedProcess[str]:
    """Build a target in a build context, under another tag, with the environment's settings."""
    script = context / "docker/build"
    script.write_text(script.read_text().replace("gated-mnist:$target", f"{tag}:$target"))
    environment = os.environ | {"CONTAINER_ENGINE": ENGINE}
    return subprocess.run(
        [script, target], cwd=context, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_code_change_reinstalls_nothing(context: Path, target: str) -> None:
    with (context / "pipeline/core/errors.py").open("a") as file:
        file.write("\n# a change\n")
    built = build(context, target, "gated-mnist-test")
    assert built.returncode == 0, built.stderr
    old, new = (
        inspect("image", f"{name}:{target}")["RootFS"]["Layers"]
        for name in ("gated-mnist", "gated-mnist-test")
    )
    engine("rmi", "--force", f"gated-mnist-test:{target}")
    assert old[:-3] == new[:-3]
    assert old[-3:] != new[-3:]


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("requirements.txt", "uv"),
        ("requirements-serve.txt", "tabulate"),
    ],  # installed by pip and by uv
)
def test_a_package_with_a_wrong_hash_is_refused(context: Path, name: str, package: str) -> None:
    lock = context / name
    text = lock.read_text()
    entry = rf"(?m)^{package}==.*\n(?:.*sha256:.*\n)*"
    lock.write_text(re.sub(entry, _corrupt_hashes, text, count=1))
    try:
        built = build(context, "serve", "gated-mnist-test")
    finally:
        lock.write_text(text)
    assert built.returncode != 0
    said = built.stdout + built.stderr
    assert "DO NOT MATCH THE HASHES" in said or "Hash mismatch" in said


def _corrupt_hashes(lines: re.Match[str]) -> str:
    return re.sub("sha256:....", "sha256:0000", lines[0])
