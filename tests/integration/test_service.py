"""The HTTP service as a real server: real clients, slow clients, signals, and logs."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import requests
import tritonclient.http as triton

from pipeline.core.errors import UserError
from pipeline.inference import Classifier
from pipeline.journal.keeping import JournalSettings
from pipeline.service import processes
from pipeline.service.limits import Limits
from pipeline.service.processes import SPAWN, share, start, supervise
from pipeline.service.shared import ROW
from pipeline.service.sockets import listen
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import Images
from tests.servers import wait_until
from tests.services import INFER, SERVE, binary_request, listening, make_app, metric, png, serving

pytestmark = needs_model
TEN = list(range(10))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a service shared by all tests."""
    with listening(make_app()) as port:
        yield port


@pytest.fixture
def client(port: int) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


def tensor_of(images: Images, *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return tensor


# clients


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_tritons_client_gets_the_results_of_the_library(
    client: triton.InferenceServerClient, ten: Images, binary_input: bool, binary_output: bool
) -> None:
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_output)
        for name in ("novelty", "probabilities", "logits")
    ]
    tensor = tensor_of(ten, binary=binary_input)
    result = client.infer("mnist-cnn", [tensor], outputs=outputs, request_id="seven")
    assert result.get_response()["id"] == "seven"
    expected = Classifier(MODEL, threads=1).predict(ten)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("logits"), expected.logits, atol=1e-4)
    np.testing.assert_allclose(result.as_numpy("novelty"), expected.novelty, atol=1e-4)


def test_tritons_client_finds_the_server_and_the_model(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("mnist-cnn")
    assert metadata["name"] == "mnist-cnn"
    names = [tensor["name"] for tensor in metadata["outputs"]]
    assert names == ["logits", "probabilities", "novelty"]
    (version,) = metadata["versions"]
    assert client.is_model_ready("mnist-cnn")
    assert client.is_model_ready("mnist-cnn", version)
    assert not client.is_model_ready("mnist-cnn", "0")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritons_client_works_with_its_default_options(
    client: triton.InferenceServerClient, ten: Images, compression: str | None
) -> None:
    """By default, the request asks for all outputs as bytes and may be compressed."""
    (version,) = client.get_model_metadata("mnist-cnn")["versions"]
    result = client.infer(
        "mnist-cnn", [tensor_of(ten)], version, request_compression_algorithm=compression
    )
    assert result.as_numpy("probabilities").argmax(1).tolist() == TEN
    assert result.get_response()["model_version"] == version


def test_no_request_generated_from_the_openapi_document_reveals_a_defect(tmp_path: Path) -> None:
    """Schemathesis generates valid and invalid requests.

    A schema cannot tie the size of the data to the shape, so valid requests may be refused.
    """
    admin = "0nly-for-admins"
    options = ["--exclude-checks=positive_data_acceptance", "--no-color"]
    options += [f"--header=Authorization: Bearer {admin}"]
    journal = JournalSettings(tmp_path / "journal")
    with listening(make_app(admin_token=admin, journal=journal)) as port:
        command = ["run", f"http://127.0.0.1:{port}/openapi.json", "--max-examples=10", "--seed=1"]
        tried = subprocess.run(
            [Path(sys.executable).with_name("schemathesis"), *command, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert tried.returncode == 0, tried.stdout
    assert re.search(r"Tested: \d", tried.stdout)


# slow clients


def test_a_client_that_does_not_read_is_disconnected(ten: Images) -> None:
    body, headers = binary_request(np.zeros((8192, 28, 28), np.uint8))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    limits = Limits(requests=1, seconds=1)
    with listening(make_app(limits), limits) as port, socket.socket() as client:

        def status() -> int:
            return httpx.post(f"http://127.0.0.1:{port}/predict", content=png(ten[3])).status_code

        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        begun = client.recv(400)
        assert begun.startswith(b"HTTP/1.1 200")
        assert status() == 503
        wait_until(lambda: status() == 200)
        rest = 0
        with suppress(ConnectionError):
            while part := client.recv(2**20):
                rest += len(part)
        whole = re.search(rb"content-length: (\d+)", begun)
        assert whole is not None
        assert rest < int(whole[1]) - 1000  # it was cut off


def test_idle_connections_make_room_for_others() -> None:
    limits = Limits(connections=10)
    with listening(make_app(limits), limits) as port, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            for _ in range(30)
        ]
        idle[-1].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n")
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/v2/health/live").json() == {"live": True}
        with suppress(ConnectionError):
            assert idle[0].recv(1) == b""  # idle the longest
        idle[-1].sendall(b"\r\n")
        assert idle[-1].recv(12) == b"HTTP/1.1 200"


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    """The port of a service that waits half a second for a request."""
    limits = Limits(head_seconds=0.5)
    with listening(make_app(limits), limits) as port:
        yield port


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a second head", "the body of a refused request"],
)
def test_a_client_that_sends_byte_by_byte_is_disconnected(impatient: int, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient), 0.05) as client:
        client.sendall(begun)

        def closed() -> bool:
            try:
                if begun:
                    client.sendall(b"A")
                return not client.recv(4096)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(closed, 60)


def test_an_endless_request_head_is_cut_off(port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), 60) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nX-Large: ")
        for _ in range(1000):
            connection.sendall(b"A" * 10_000)
        pytest.fail("the server accepted ten million bytes")
    answer = httpx.get(f"http://127.0.0.1:{port}/v2/health/live")
    assert answer.json() == {"live": True}
    assert "server" not in answer.headers


def test_a_client_that_disconnects_causes_no_traceback(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    def refused() -> float:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        return metric(text, "http_requests_total", route="/predict", status="400")

    before = refused()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    wait_until(lambda: refused() == before + 1)
    assert not [record for record in caplog.records if record.exc_info]


# the process


def test_the_service_logs_json_without_the_token_and_finishes_requests_before_it_ends(
    tmp_path: Path, ten: Images
) -> None:
    (tmp_path / "token").write_text("s3cret-e\n")
    log, body = tmp_path / "log", png(ten[5])
    token = "Authorization: Bearer s3cret-e"
    with serving(log, token_file=tmp_path / "token") as (process, address):
        assert requests.post(f"{address}/predict", body, timeout=60).status_code == 401
        port = int(address.rpartition(":")[-1])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{token}\r\nContent-Length: {len(body)}"
            client.sendall(f"{head}\r\n\r\n".encode() + body[:50])
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            client.sendall(body[50:])
            answer = client.makefile("rb").read()
        assert b'"label":"5","digit":5' in answer
        process.wait(60)
    *texts, last = log.read_text().splitlines()
    assert last == "stopped by SIGTERM"
    lines = [json.loads(text) for text in texts]
    assert "loaded" in lines[0]["message"]
    asked = [(line["path"], line["status"]) for line in lines if line["message"] == "request"]
    assert asked[-2:] == [("/predict", 401), ("/predict", 200)]
    assert "s3cret" not in log.read_text()


def test_on_a_terminal_one_line_says_where_it_listens_and_how_to_stop_it() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*SERVE, "--port", "0"], cwd=PROJECT, stderr=theirs)
    os.close(theirs)
    said = ""
    try:
        while "\n" not in said:
            said += os.read(ours, 1000).decode()
        line = re.fullmatch(r"(http://127\.0\.0\.1:\d+) .*Ctrl-C.*\r\n", said)
        assert line is not None, said
        assert requests.get(f"{line[1]}/v2/health/ready", timeout=60).ok
        process.send_signal(signal.SIGINT)
        process.wait(60)
        with suppress(OSError):  # Linux raises this once the other end is closed
            while more := os.read(ours, 1000).decode():
                said += more
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert said.splitlines()[1:] == ["stopped by SIGINT"]


def test_processes_share_counts_and_one_that_dies_is_replaced(tmp_path: Path, ten: Images) -> None:
    body, headers = binary_request(ten)
    log = tmp_path / "log"
    with serving(log, "--workers=2") as (process, address):

        def children() -> list[psutil.Process]:
            found = psutil.Process(process.pid).children()
            return [child for child in found if "spawn_main" in " ".join(child.cmdline())]

        def counts() -> set[float]:
            texts = [requests.get(f"{address}/metrics", timeout=60).text for _ in range(8)]
            return {metric(text, "predictions_total", label="7") for text in texts}

        def post(times: int) -> None:
            for _ in range(times):
                assert requests.post(f"{address}{INFER}", body, headers=headers, timeout=60).ok

        before = children()
        assert len(before) == 2
        post(20)
        assert counts() == {20}
        time.sleep(0.5)  # a process that is killed cannot write the lines that wait
        before[0].kill()
        post(20)
        assert counts() == {40}
        wait_until(lambda: len(children()) == 2)
        assert before[0] not in children()
        post(20)
        assert counts() == {60}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert not [child for child in before if child.is_running()]
    lines = [json.loads(text) for text in log.read_text().splitlines()[:-1]]
    assert len([line for line in lines if line.get("path") == INFER]) == 60  # none lost


def test_a_process_that_dies_before_it_reads_does_not_block_its_parent() -> None:
    """The pipe to a new process holds less than the model."""
    SPAWN.set_executable("/bin/false")
    try:
        started = start(print, share(b" " * 2**20))
    finally:
        SPAWN.set_executable(sys.executable)
    started.join(60)
    assert started.exitcode == 1


def test_processes_end_with_their_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--workers=2") as (process, address):
        process.kill()
        process.wait()

        def refused() -> bool:
            try:
                return not requests.get(f"{address}/v2/health/live", timeout=60)
            except requests.ConnectionError:
                return True

        wait_until(refused, 60)


def test_a_process_that_cannot_start_ends_the_service() -> None:
    stopped: list[bool] = []
    with pytest.raises(UserError, match="status 3"):
        supervise(
            lambda number: start(os._exit, 3),
            np.zeros(2, ROW),
            grace=1,
            on_ready=lambda: pytest.fail("it is not ready"),
            on_stop=lambda: stopped.append(True),
        )
    assert stopped == [True]


class Dying:
    """Starts processes, of which the first serve, and then these numbers of the first row die.

    A process that serves is marked as such when it starts.
    """

    def __init__(self, deaths: int) -> None:
        self.deaths, self.rows, self.started = deaths, np.zeros(2, ROW), [0, 0]

    def __call__(self, number: int) -> SpawnProcess:
        self.started[number] += 1
        replacement, living = self.started[number] - 1, self.started[0] > self.deaths + 1
        self.rows["serving"][number] = number or not replacement or living
        if number or living:
            process = start(time.sleep, 600)
            if living:
                os.kill(os.getpid(), signal.SIGINT)
            return process
        return start(os._exit, 3)


def test_replacements_that_die_are_replaced_while_another_process_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "PAUSE", 0.001)
    dying, ready = Dying(deaths=processes.TRIES + 1), list[bool]()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            supervise(dying, dying.rows, 1, lambda: ready.append(True), lambda: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert dying.started == [processes.TRIES + 3, 1]
    assert ready == [True]


def test_replacements_that_die_end_a_service_of_which_no_process_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "PAUSE", 0.001)
    dying = Dying(deaths=100)
    with pytest.raises(UserError, match="status 3"):
        supervise(dying, dying.rows[:1], 1, lambda: None, lambda: None)
    assert dying.started == [1 + processes.TRIES, 0]


def test_stalled_uploads_do_not_block_health_checks(tmp_path: Path) -> None:
    """Even if the system allows the service few open files."""
    limited = ["bash", "-c", 'ulimit -n 300; exec "$@"', "-"]
    with (
        serving(tmp_path / "log", "--workers=1", prefix=limited) as (_, address),
        ExitStack() as stack,
    ):
        port = int(address.rpartition(":")[-1])
        for _ in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            with suppress(ConnectionError):
                client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        for _ in range(3):
            assert requests.get(f"{address}/v2/health/live", timeout=5).ok


def test_an_unusable_address_is_named() -> None:
    (taken,) = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with taken, pytest.raises(UserError) as error:
        listen("127.0.0.1", port)
    assert re.fullmatch(f"port {port} .*127.0.0.1 .*--port 0 .*", str(error.value))
    for host, said in (
        ("192.0.2.1", "address"),
        ("nowhere.invalid", "host"),
        ("a..b", "host"),
    ):
        with pytest.raises(UserError, match=f"{host}.*{said}|{said}.*{host}"):
            listen(host, 0)
