"""A challenger in a service: one that is good, and some with faults."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import copy

import numpy as np
import onnx
import psutil
import pytest
import requests

from benchmarks.service.challengers import Crashing, Failing, Faithful, Hanging, Slow, Wrong
from pipeline.core.files import sha256
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.journal.ids import following
from pipeline.journal.keeping import JournalSettings
from pipeline.journal.reading import entries
from pipeline.monitoring.windows import due_windows
from pipeline.registry.ledger import Act, Ledger
from pipeline.service.challenger.copies import LENGTH
from pipeline.service.challenger.process import Model
from pipeline.service.challenger.seats import seats
from pipeline.service.challenger.trial import LEVEL, Rules
from pipeline.service.journal_start import keeping
from pipeline.service.pool import ServedModel
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import Images
from tests.releases import make_release
from tests.servers import wait_until
from tests.services import INFER, binary_request, listening, make_app, metric, png, serving

pytestmark = needs_model
SHADOW, CANARY = Rules(), Rules(percent=100, deadline=0.5)
SOON = 200  # requests
REQUESTS = LENGTH + 20  # more than wait for a challenger that hangs


class Trial:
    """A service with a challenger, and its client."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()

    def ask(self, images: Images, request_id: str | None = None) -> dict[str, object]:
        """The answer to images."""
        body, headers = binary_request(images)
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        response = self._session.post(f"{self.url}{INFER}", body, headers=headers, timeout=30)
        response.raise_for_status()
        content: dict[str, object] = response.json()
        return content

    def status(self) -> dict[str, object]:
        """The state of the trial."""
        found: dict[str, object] = self._session.get(f"{self.url}/challenger", timeout=30).json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = self._session.get(f"{self.url}/metrics", timeout=30).text
        return metric(text, name, **labels)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the released model's answers, but another digest."""
    return changed(tmp_path_factory.mktemp("models") / "other.onnx")


def changed(path: Path, shift: float = 0) -> Path:
    """Write a copy of the released model that adds `shift` to the logit of class 0."""
    model = onnx.load(MODEL)
    (node,) = (node for node in model.graph.node if "logits" in node.output)
    (bias,) = (value for value in model.graph.initializer if value.name == node.input[2])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] += shift
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    model.producer_version = "another"
    onnx.save(model, path)
    return path


@contextmanager
def trial(
    load: Callable[[], Model], rules: Rules, challenger: Path, journal: Path | None = None
) -> Iterator[Trial]:
    """A service whose challenger is loaded by `load`, and answers as that file.

    With `journal`, it keeps the answers there.
    """
    champion = ServedModel(Classifier(MODEL, threads=1))
    named = ServedModel(Classifier(challenger, threads=1))
    with seats(load, champion, rules, 1) as (seat,):
        link = seat.link(champion, named)
        settings = JournalSettings(journal) if journal else None
        app = make_app(classifier=champion.classifier, link=link, journal=settings)
        with keeping(app.state.service.journal), listening(app) as port:
            wait_until(lambda: link.trial.running or link.trial.reason)
            yield Trial(port)


def expected(images: Images) -> list[str | None]:
    return Classifier(MODEL, threads=1).predict(images).labels


def labels(answer: dict[str, object]) -> list[str | None]:
    """The labels in an answer of the protocol."""
    (found,) = (out["data"] for out in answer["outputs"] if out["name"] == "probabilities")  # type: ignore[attr-defined]
    return [str(n) for n in np.reshape(found, (-1, 10)).argmax(1)]


def test_a_good_challenger_agrees(ten: Images, other: Path) -> None:
    with trial(partial(Faithful, MODEL), SHADOW, other) as found:
        champion = Classifier(MODEL, threads=1).sha256[:12]
        for _ in range(20):
            assert found.ask(ten)["model_version"] == champion
        wait_until(lambda: found.status()["requests"] == 20)
        same = found.metric("challenger_compared_total", label="same", verdict="same")
        assert same == 200
        assert found.metric("challenger_compared_total") == 200
        assert found.metric("challenger_seconds_count", model="challenger") == 20
        assert found.metric("challenger_seconds_count", model="champion") == 20
        assert found.status()["state"] == "shadow"


@pytest.mark.parametrize("kind", [Slow, Hanging, Failing, Crashing, Wrong])
def test_a_shadow_changes_no_answer(ten: Images, other: Path, kind: type[Faithful]) -> None:
    with trial(partial(kind, MODEL), SHADOW, other) as found:
        champion = Classifier(MODEL, threads=1).sha256[:12]
        for _ in range(REQUESTS):
            answer = found.ask(ten)
            assert labels(answer) == expected(ten)
            assert answer["model_version"] == champion
        assert found.metric("predictions_total") == 10 * REQUESTS
        match kind.__name__:
            case "Slow" | "Hanging":
                assert found.metric("challenger_dropped_total") > 0
            case "Failing":
                wait_until(lambda: found.metric("challenger_failures_total", kind="error") > 0)
            case "Crashing":
                wait_until(lambda: found.ask(ten) and found.status()["reason"] == "crashed")
            case "Wrong":
                wait_until(lambda: found.status()["differ"])
                assert found.status()["state"] == "shadow"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Slow, "latency"),
        (Hanging, "failures"),
        (Failing, "failures"),
        (Crashing, "crashed"),
        (Wrong, "disagreement"),
    ],
)
def test_a_bad_canary_is_ended(ten: Images, other: Path, kind: type[Faithful], reason: str) -> None:
    with trial(partial(kind, MODEL), CANARY, other) as found:
        version = {
            role: Classifier(path, threads=1).sha256[:12]
            for role, path in (("champion", MODEL), ("challenger", other))
        }
        for _ in range(SOON):
            answer = found.ask(ten)
            assert answer["model_version"] in version.values()
            if kind is not Wrong or answer["model_version"] == version["champion"]:
                assert labels(answer) == expected(ten)
            if found.status()["state"] == "ended":
                break
        assert found.status()["reason"] == reason
        assert found.status()["explanation"]
        assert found.metric("challenger_ended", reason=reason) == 1
        assert found.metric("challenger_state", state="ended") == 1
        assert found.ask(ten)["model_version"] == version["champion"]
        if kind is not Crashing:
            assert max(found.status()["evidence"].values()) > 1 / LEVEL  # type: ignore[attr-defined]


def test_a_canary_answers_its_share_by_the_id_of_the_request(ten: Images, other: Path) -> None:
    with trial(partial(Faithful, MODEL), Rules(percent=30), other) as found:
        challenger = Classifier(other, threads=1).sha256[:12]
        versions = [found.ask(ten[:1], f"id-{n}")["model_version"] for n in range(200)]
        assert 30 <= versions.count(challenger) <= 90
        again = [found.ask(ten[:1], f"id-{n}")["model_version"] for n in range(200)]
        assert versions == again
        assert found.status()["answered"] == 2 * versions.count(challenger)
        assert found.metric("predictions_total", version=challenger) == found.status()["answered"]
        (one, *_) = (n for n in range(200) if versions[n] == challenger)
        headers = {"X-Request-Id": f"id-{one}"}
        picture = requests.post(f"{found.url}/predict", png(ten[4]), headers=headers, timeout=30)
        assert picture.headers["X-Request-Id"] == f"id-{one}"
        assert (picture.json()["version"], picture.json()["digit"]) == (challenger, 4)
        plain = requests.post(
            f"{found.url}/predict?explain=true", png(ten[4]), headers=headers, timeout=30
        )
        assert plain.json()["version"] != challenger
        generated = requests.get(f"{found.url}/v2", headers={"X-Request-Id": "a b"}, timeout=30)
        assert generated.headers["X-Request-Id"] not in ("a b", "")


def test_the_journal_names_the_model_that_answered(
    ten: Images, other: Path, tmp_path: Path
) -> None:
    """What a canary answers is not an answer of the champion, which `monitor` judges."""
    digests = {digest[:12]: digest for digest in map(sha256, (MODEL, other))}
    answered = {}
    with trial(partial(Faithful, MODEL), Rules(percent=50), other, tmp_path) as found:
        for number in range(30):
            answer = found.ask(ten[:2], f"id-{number}")
            answered[str(answer["id"])] = str(answer["model_version"])
    assert set(answered.values()) == digests.keys()
    rows = [row for batch in entries(tmp_path) for row in batch.to_pylist()]
    named = {name: version for first, version in answered.items() for name in following(first, 2)}
    assert {row["id"]: row["version"] for row in rows} == named
    assert all(row["sha256"] == digests[row["version"]] for row in rows)
    assert {row["challenger"] for row in rows if row["version"] != sha256(MODEL)[:12]} == {None}
    later = datetime.now(UTC) + timedelta(minutes=1)
    due = due_windows(tmp_path, sha256(MODEL), 50, None, later)
    assert len(due.ids) + due.waiting == list(named.values()).count(sha256(MODEL)[:12])


def test_a_named_version_is_never_answered_by_another(ten: Images, other: Path) -> None:
    with trial(partial(Faithful, MODEL), CANARY, other) as found:
        body, headers = binary_request(ten)
        for path in (MODEL, other):
            version = Classifier(path, threads=1).sha256[:12]
            named = INFER.replace("/infer", f"/versions/{version}/infer")
            response = requests.post(f"{found.url}{named}", body, headers=headers, timeout=30)
            assert response.json()["model_version"] == version
        assert found.status()["answered"] == 0


def test_a_challenger_that_cannot_be_loaded_leaves_the_service_alone(
    ten: Images, other: Path, tmp_path: Path
) -> None:
    with trial(partial(Faithful, tmp_path / "missing.onnx"), CANARY, other) as found:
        assert labels(found.ask(ten)) == expected(ten)
        assert found.status()["reason"] == "crashed"


def test_the_command_serves_a_canary_in_all_its_processes(tmp_path: Path, ten: Images) -> None:
    """The challenger is a file that calls everything a 0."""
    bad = changed(tmp_path / "bad.onnx", shift=50)
    options = ["--workers=2", "--json-log", f"--model={MODEL}", f"--challenger={bad}"]
    with serving(tmp_path / "log", *options, "--canary=50") as (process, url):
        found = Trial(int(url.rsplit(":", 1)[1]))
        wait_until(lambda: found.status()["state"] == "canary")
        versions = set()
        for _ in range(SOON):
            session = requests.Session()  # a new connection, perhaps to the other process
            body, headers = binary_request(ten[1:2])
            answer = session.post(f"{url}{INFER}", body, headers=headers, timeout=30).json()
            versions.add(answer["model_version"])
            if found.status()["state"] == "ended":
                break
        assert found.status()["reason"] == "disagreement"
        assert len(versions) == 2
        wait_until(lambda: "different" in (tmp_path / "log").read_text(), 30)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3  # two processes, and the challenger's
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        _, alive = psutil.wait_procs(children, 10)
        assert not alive


def test_a_service_tries_one_release_after_the_other(tmp_path: Path, ten: Images) -> None:
    """As the ledger puts them on trial, and forgets each when its retraining has ended."""
    workspace = Workspace(tmp_path)
    copy(PROJECT / "params.yaml", workspace.params)
    for variation in range(3):
        make_release(workspace, variation, promoted=variation == 0)
    options = ["--workers=2", "--json-log", "--challenger=trial"]
    with serving(tmp_path / "log", *options, workspace=workspace) as (_, url):
        found = Trial(int(url.rsplit(":", 1)[1]))
        assert found.status()["release"] is None
        for release in (2, 3):
            Ledger(workspace.ledger).append(Act.RETRAIN)
            Ledger(workspace.ledger).append(Act.TRIAL, release=release)
            wait_until(lambda: found.status()["release"] in (2, 3), 60)
            assert found.status()["release"] == release
            found.ask(ten)
            wait_until(lambda: found.status()["requests"] == 1, 30)
            Ledger(workspace.ledger).append(Act.END)
            wait_until(lambda: found.status()["state"] == "starting", 30)
            assert found.status()["requests"] == 0
