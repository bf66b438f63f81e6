"""What the service keeps, and how people label it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pipeline.inference import Classifier
from pipeline.inference.session import Answer
from pipeline.journal.entry import pixels_of
from pipeline.journal.ids import following
from pipeline.journal.keeping import JournalSettings, Keeping
from pipeline.journal.reading import entries, votes
from pipeline.service import journaling
from pipeline.service.challenger.messages import pack_reply
from pipeline.service.challenger.trial import Rules
from pipeline.service.journaling import Journal
from pipeline.service.pool import ServedModel
from pipeline.service.rate_limit import RateLimit
from tests.checkout import MODEL, needs_model
from tests.digits import make_digits
from tests.servers import wait_until
from tests.services import INFER, Client, binary_request, client_of, make_app, png
from tests.trials import linked

pytestmark = needs_model
IMAGES, LABELS = make_digits(3, 8)
SHEET = png(255 - IMAGES[1])
Serve = Callable[..., tuple[Client, Journal]]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(MODEL, threads=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def serve(root: Path, classifier: Classifier) -> Iterator[Serve]:
    """Start a service with a journal."""
    with ExitStack() as stack:

        def start(keeping: Keeping | None = None, **options: Any) -> tuple[Client, Journal]:
            settings = JournalSettings(root, keeping or Keeping())
            app = make_app(classifier=classifier, journal=settings, **options)
            return stack.enter_context(client_of(app)), app.state.service.journal

        yield start


def predict(client: Client, **query: Any) -> dict[str, Any]:
    response = client.post("/predict", SHEET, params=query)
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def feedback(client: Client, identifier: str, label: Any, **options: Any) -> httpx.Response:
    return client.post("/feedback", None, json={"id": identifier, "label": label}, **options)


def test_an_answer_names_the_entry_that_is_kept(serve: Serve, root: Path) -> None:
    client, journal = serve()
    answer = predict(client, source="page")
    journal.write()
    (batch,) = entries(root)
    (row,) = batch.to_pylist()
    assert row["id"] == answer["id"]
    assert pixels_of(batch)[0].tolist() == answer["image"]
    assert row["version"] == answer["version"]
    assert (row["label"], row["verdict"]) == (answer["label"], answer["verdict"])
    assert row["probabilities"] == pytest.approx(answer["probabilities"])
    assert row["novelty"] == pytest.approx(answer["novelty"])
    assert row["source"] == "page"
    assert abs(row["time"].timestamp() - time.time()) < 60
    assert 0 < row["latency"] < 60
    assert "127.0.0.1" not in str(row)


def test_a_preview_or_a_refused_picture_is_not_kept(serve: Serve, root: Path) -> None:
    client, journal = serve()
    assert "id" not in predict(client, preview=True)
    blank = client.post("/predict", png(np.full((40, 40), 255, np.uint8)))
    assert blank.json()["verdict"] == "no ink"
    journal.write()
    assert list(entries(root)) == []


def test_images_of_the_protocol_have_consecutive_ids(serve: Serve, root: Path) -> None:
    client, journal = serve()
    body, headers = binary_request(IMAGES)
    response = client.post(INFER, body, headers=headers)
    first = response.headers["Journal-Id"]
    json = (
        response.content[: int(response.headers["Inference-Header-Content-Length"])]
        if "Inference-Header-Content-Length" in response.headers
        else response.content
    )
    assert first.encode() in json
    journal.write()
    (batch,) = entries(root)
    assert batch["id"].to_pylist() == following(first, 3)
    assert (pixels_of(batch) == IMAGES).all()
    assert set(batch["source"].to_pylist()) == {"protocol"}


def test_the_id_of_a_client_stays_in_the_answer(serve: Serve) -> None:
    client, _ = serve()
    request = {"id": "mine", "inputs": [{"name": "images", "shape": [1, 28, 28],
               "datatype": "UINT8", "data": IMAGES[0].ravel().tolist()}]}  # fmt: skip
    response = client.post(INFER, None, json=request)
    assert response.json()["id"] == "mine"
    assert response.headers["Journal-Id"]


def test_only_a_share_is_kept(serve: Serve, root: Path) -> None:
    client, journal = serve(Keeping(share=0.5))
    given = [predict(client).get("id") for _ in range(30)]
    journal.write()
    kept = [text for batch in entries(root) for text in batch["id"].to_pylist()]
    assert kept == [text for text in given if text is not None]
    assert 0 < len(kept) < 30


def test_the_latest_label_of_a_client_counts(serve: Serve, root: Path) -> None:
    client, journal = serve()
    identifier = predict(client)["id"]
    for label in ("3", "5", 5, "not a digit", "3"):
        response = feedback(client, identifier, label)
        assert response.status_code == 200
        assert response.json() == {"id": identifier, "label": str(label)}
        journal.write()
    (vote,) = votes(root)
    assert (vote.entry, vote.label) == (identifier, "3")
    assert vote.voter.startswith("user:")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"label": "11"}, 400),
        ({"label": "digit"}, 400),
        ({"label": ""}, 400),
        ({"label": None}, 400),
        ({"label": True}, 400),
        ({"label": 1.0}, 400),
        ({"label": "\u0663"}, 400),
        ({"label": ["3"]}, 400),
        ({}, 400),
        ({"label": "3", "id": "hello"}, 404),
        ({"label": "3", "id": "01a21ea2-2355-7910-921b-8b0593f3c000"}, 404),
        ({"label": "3", "more": 1}, 400),
    ],
)
def test_wrong_labels_and_ids_are_refused(
    serve: Serve, root: Path, content: dict[str, Any], status: int
) -> None:
    client, journal = serve()
    response = client.post("/feedback", None, json={"id": predict(client)["id"], **content})
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    journal.write()
    assert votes(root) == []


def test_a_client_can_send_only_so_many_labels(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "VOTES_PER_MINUTE", 2)
    client, _ = serve()
    identifier = predict(client)["id"]
    statuses = [feedback(client, identifier, "3").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_rate_recovers_for_each_client() -> None:
    now = 0.0
    rate = RateLimit(2, lambda: now)
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    assert rate.allows("b")
    now = 31
    assert [rate.allows("a") for _ in range(2)] == [True, False]


def test_who_has_the_id_can_remove_the_entry(serve: Serve, root: Path) -> None:
    client, journal = serve()
    first, second = (predict(client)["id"] for _ in range(2))
    feedback(client, first, "3")
    journal.write()
    for _ in range(2):  # the second time, it is gone already
        assert client.request("DELETE", f"/journal/{first}").status_code == 204
    assert client.request("DELETE", "/journal/hello").status_code == 404
    assert [text for batch in entries(root) for text in batch["id"].to_pylist()] == [second]
    assert votes(root) == []


def test_labels_require_the_token(serve: Serve) -> None:
    client, _ = serve(token="secret")
    known = {"Authorization": "Bearer secret"}
    identifier = client.post("/predict", SHEET, headers=known).json()["id"]
    assert feedback(client, identifier, "3").status_code == 401
    assert client.request("DELETE", f"/journal/{identifier}").status_code == 401
    assert feedback(client, identifier, "3", headers=known).status_code == 200


def test_without_a_journal_nothing_is_kept(classifier: Classifier) -> None:
    with client_of(make_app(classifier=classifier, admin_token="chief")) as client:
        response = client.post("/predict", SHEET)
        assert "id" not in response.json()
        assert "Journal-Id" not in response.headers
        known = {"Authorization": "Bearer chief"}
        assert feedback(client, "x", "3").status_code == 404
        assert client.request("DELETE", "/journal/x").status_code == 404
        assert client.get("/review", headers=known).status_code == 404
        assert client.get("/review/queue", headers=known).status_code == 404
        assert 'id="kept"></p>' in client.get("/").text


def test_the_page_says_what_is_kept(serve: Serve) -> None:
    client, _ = serve(Keeping(share=0.25, days=12))
    page = client.get("/").text
    assert "25 %" in page
    assert "12 days" in page


def test_the_metrics_count_entries_votes_and_removals(serve: Serve) -> None:
    client, journal = serve()
    identifier = predict(client)["id"]
    feedback(client, identifier, "3")
    client.request("DELETE", f"/journal/{identifier}")
    journal.write()
    assert client.metric("journal_entries_total", result="written") == 1
    assert client.metric("journal_entries_total", result="dropped") == 0
    assert client.metric("journal_votes_total", result="written") == 1
    assert client.metric("journal_removed_total") == 1


def review(client: Client, identifier: str, token: str = "look", **others: Any) -> httpx.Response:
    content = {"id": identifier, "label": "3", "name": "ann"} | others
    headers = {"Authorization": f"Bearer {token}"}
    return client.post("/review/labels", None, json=content, headers=headers)


def test_reviewers_label_what_waits(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "FRESH", 0)
    client, journal = serve(review_token="look")
    known = {"Authorization": "Bearer look"}
    answers = [predict(client) for _ in range(2)]
    for answer in answers:
        feedback(client, answer["id"], "9" if answer["label"] != "9" else "8")  # disagrees
    journal.write()
    queue = client.get("/review/queue", headers=known).json()
    assert {item["id"] for item in queue["items"]} == {answer["id"] for answer in answers}
    assert queue["items"][0]["image"] == answers[0]["image"]
    assert sum(queue["waiting"].values()) == 2
    skipped = client.get("/review/queue", headers=known, params={"skip": answers[0]["id"]}).json()
    assert [item["id"] for item in skipped["items"]] == [answers[1]["id"]]
    assert sum(skipped["waiting"].values()) == 1
    assert review(client, answers[0]["id"]).status_code == 200
    journal.write()
    left = client.get("/review/queue", headers=known).json()
    assert [item["id"] for item in left["items"]] == [answers[1]["id"]]
    assert ("reviewer:ann", "3") in [(vote.voter, vote.label) for vote in votes(root)]


@pytest.mark.parametrize("name", ["", " ", "a:b", "a\nb", "a" * 65])
def test_reviewers_have_a_plain_name(serve: Serve, name: str) -> None:
    client, _ = serve(review_token="look")
    assert review(client, predict(client)["id"], name=name).status_code == 400


def test_spellings_of_a_name_that_look_alike_are_one_reviewer(serve: Serve, root: Path) -> None:
    client, journal = serve(review_token="look")
    identifier = predict(client)["id"]
    for name in ("Zo\u00eb  B", " Zoe\u0308 B "):
        assert review(client, identifier, name=name).status_code == 200
        journal.write()
    assert [vote.voter for vote in votes(root)] == ["reviewer:Zo\u00eb B"]


def test_only_reviewers_and_admins_see_the_queue(serve: Serve) -> None:
    client, _ = serve(token="use", admin_token="chief", review_token="look")
    for token, status in (("use", 403), ("wrong", 401), ("look", 200), ("chief", 200)):
        known = {"Authorization": f"Bearer {token}"}
        assert client.get("/review/queue", headers=known).status_code == status
    assert client.get("/review/queue").status_code == 401
    assert client.get("/review").status_code == 200  # the page shows nothing without the token
    known = {"Authorization": "Bearer look"}
    assert client.post("/predict", SHEET, headers=known).status_code == 200
    assert client.post("/v2/repository/models/x/load", headers=known).status_code == 403


def test_without_a_review_token_nobody_sees_the_queue(serve: Serve) -> None:
    client, _ = serve()
    assert client.get("/review/queue").status_code == 403
    assert review(client, predict(client)["id"]).status_code == 403


def test_the_challengers_answer_is_kept(serve: Serve, root: Path, classifier: Classifier) -> None:
    """That of the first request, with another label; the second gets none in time."""
    with linked(ServedModel(classifier), Rules(deadline=0.2)) as (link, far):
        link.trial.start()
        client, journal = serve(link=link)
        answers = [predict(client) for _ in range(2)]
        found = classifier.predict(far.copy().images)
        logits, probabilities = (
            np.roll(part, 1, 1) for part in (found.logits, found.probabilities)
        )
        rolled = Answer(logits, probabilities, found.novelty)
        # the numbers of copies are consecutive, and the queue has the second one now
        far.connection.send(pack_reply(far.copy().number - 1, rolled))

        def rows() -> list[dict[str, Any]]:
            client.get("/v2/health/live")  # lets the service work
            journal.write()
            return [row for batch in entries(root) for row in batch.to_pylist()]

        wait_until(lambda: len(rows()) == 2, 60)
        kept = {row["id"]: row["challenger"] for row in rows()}
    other = str((int(answers[0]["label"]) + 1) % 10)
    first, second = (kept[answer["id"]] for answer in answers)
    assert (first["label"], first["version"]) == (other, classifier.sha256[:12])
    assert second is None
