"""Labels in a real browser: on the page to draw on, and on the page of reviewers."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from safetensors.numpy import load_file

from pipeline.collection.mixing import training_images
from pipeline.config import load_params
from pipeline.inference.classifier import Classifier
from pipeline.journal.keeping import JournalSettings
from pipeline.journal.reading import entries, votes
from pipeline.service import journaling
from pipeline.service.journaling import Journal
from pipeline.stages.collect import share_of
from tests.checkout import PROJECT, python
from tests.digits import make_digits
from tests.e2e.test_page import STROKES, browser, draw, pytestmark  # noqa: F401
from tests.journals import add_votes, make_journal
from tests.services import listening, make_app
from tests.templates import draw as render
from tests.templates import write_model
from tests.training_sets import collecting_workspace

REVIEW_TOKEN = "look"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def service(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Journal]]:
    """The URL of a service with a journal, and the journal."""
    monkeypatch.setattr(journaling, "FRESH", 0)
    app = make_app(journal=JournalSettings(root), review_token=REVIEW_TOKEN)
    with closing(app.state.service.journal), listening(app) as port:
        yield f"http://127.0.0.1:{port}/", app.state.service.journal


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: Any) -> Iterator[Page]:  # noqa: F811
    context = browser.new_context(
        viewport={"width": 375, "height": 700} if request.param == "dark" else None,
        color_scheme=request.param,
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


def require_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_people_correct_and_delete_what_they_have_drawn(
    page: Page, service: tuple[str, Journal], root: Path
) -> None:
    address, journal = service
    page.goto(address)
    expect(page.locator("#kept")).to_contain_text("30 days")
    expect(page.locator("#feedback")).to_be_hidden()
    draw(page, STROKES[7])
    expect(page.locator("#feedback")).to_be_visible()
    require_accessible(page)
    page.locator("#file").focus()  # as after a file was chosen
    page.keyboard.press("3")
    expect(page.locator("#noted")).to_contain_text("3")
    page.get_by_role("button", name="The answer is right").click()
    expect(page.locator("#noted")).to_contain_text("7")
    page.evaluate("() => { window.ask = fetch; window.fetch = () => Promise.reject(); }")
    page.keyboard.press("4")
    expect(page.locator("#noted")).to_contain_text("service")
    expect(page.get_by_role("button", name="7", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )  # still holds
    page.evaluate("() => { window.fetch = window.ask; }")
    journal.write()
    (vote,) = votes(root)
    assert vote.label == "7"
    (batch,) = entries(root)
    assert batch["id"].to_pylist() == [vote.entry]
    assert batch["source"].to_pylist() == ["page"]
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#feedback")).to_be_hidden()
    page.locator("#canvas").scroll_into_view_if_needed()
    draw(page, STROKES[1])
    expect(page.locator("#feedback")).to_be_visible()
    page.keyboard.press("-")
    expect(page.locator("#noted")).to_contain_text("not a digit")
    page.get_by_role("button", name="Delete this picture").click()
    expect(page.locator("#noted")).to_contain_text("Deleted")
    journal.write()
    assert votes(root) == [vote]


def test_letters_are_labelled_with_and_without_shift(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
) -> None:
    classifier = Classifier(write_model(tmp_path / "model.onnx"), threads=1)
    Image.fromarray(render("E")).save(tmp_path / "e.png")
    app = make_app(classifier=classifier, journal=JournalSettings(tmp_path / "journal"))
    with closing(app.state.service.journal), listening(app) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#file").set_input_files(tmp_path / "e.png")
        expect(page.locator("#feedback")).to_be_visible()
        for key, label in (("f", "F"), ("Shift+H", "H")):
            page.keyboard.press(key)
            expect(page.get_by_role("button", name=label, exact=True)).to_have_attribute(
                "aria-pressed", "true"
            )
        page.close()


def test_a_reviewer_labels_with_a_key_press_each(
    page: Page, service: tuple[str, Journal], root: Path
) -> None:
    address, journal = service
    page.goto(address)
    for digit in (1, 7):
        draw(page, STROKES[digit])
        expect(page.locator("#feedback")).to_be_visible()
        page.keyboard.press("-")  # disagrees, so that the drawing is in the queue
        expect(page.locator("#noted")).to_contain_text("not a digit")
        page.get_by_role("button", name="Clear").click()
    journal.write()
    start_review(page, address, "wrong")
    expect(page.locator("#state")).to_contain_text("token")
    require_accessible(page)
    page.get_by_label("Review token").fill(REVIEW_TOKEN)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("2 in the queue")
    require_accessible(page)
    page.keyboard.press("5")
    expect(page.locator("#state")).to_contain_text("1 in the queue, 1 labelled here")
    page.keyboard.press("Backspace")
    expect(page.locator("#state")).to_contain_text("2 in the queue")
    page.keyboard.press("1")
    page.get_by_role("button", name="Not a digit").click()
    expect(page.locator("#state")).to_contain_text("No image waits")
    expect(page.locator("#state")).to_contain_text("2 labelled here")
    journal.write()
    labels = [vote.label for vote in votes(root) if vote.voter == "reviewer:ann"]
    assert sorted(labels) == ["1", "not a digit"]


def test_a_reviewer_goes_on_after_a_failure(
    page: Page, service: tuple[str, Journal], root: Path
) -> None:
    address, journal = service
    images, labels = make_digits(3, seed=1)
    make_journal(root, images, labels, columns={"random": [True] * 3})
    start_review(page, address)
    expect(page.locator("#state")).to_contain_text("3 in the queue")
    page.evaluate("() => { window.ask = fetch; window.fetch = () => Promise.reject(); }")
    page.keyboard.press("5")
    expect(page.locator("#state")).to_contain_text("service")
    expect(page.locator("#state")).to_contain_text("3 in the queue, 0 labelled here")
    page.evaluate("() => { window.fetch = async () => Response.json({}, { status: 401 }); }")
    page.keyboard.press("5")
    expect(page.locator("#work")).to_be_hidden()
    expect(page.get_by_label("Review token")).to_be_focused()
    page.evaluate("() => { window.fetch = window.ask; }")
    page.keyboard.type(REVIEW_TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_visible()
    page.keyboard.press("5")
    expect(page.locator("#state")).to_contain_text("2 in the queue, 1 labelled here")
    journal.write()
    assert [vote.label for vote in votes(root)] == ["5"]


def test_what_another_reviewer_has_labelled_leaves_the_queue(
    page: Page, service: tuple[str, Journal], root: Path
) -> None:
    address, _ = service
    images, labels = make_digits(8, seed=1)
    known = make_journal(root, images, labels, columns={"random": [True] * 8})
    start_review(page, address)
    expect(page.locator("#state")).to_contain_text("8 in the queue")
    (shown,) = (number for number, image in enumerate(images) if shows(page, image.tolist()))
    add_votes(root, [(each, "reviewer:bob", "1") for each in known if each != known[shown]])
    count = 0
    while page.locator("#item").is_visible():
        count += 1
        page.keyboard.press("1")
        expect(page.locator("#state")).to_contain_text(f"{count} labelled here")
    assert count < len(known)
    expect(page.locator("#state")).to_contain_text("No image waits")
    require_accessible(page)
    more, labels = make_digits(2, seed=2)
    make_journal(root, more, labels, columns={"random": [True] * 2})
    expect(page.get_by_role("button", name="Look again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("2 in the queue")
    expect(page.locator("#item")).to_be_focused()


def test_corrected_drawings_are_in_the_next_training(
    browser: Browser,  # noqa: F811
    service: tuple[str, Journal],
    root: Path,
) -> None:
    """A person corrects answers and a reviewer agrees: `train` reads the drawings so labelled."""
    address, journal = service
    workspace = collecting_workspace(root.parent)
    page = browser.new_page()
    page.goto(address)
    drawn: dict[str, tuple[int, list[list[int]]]] = {}  # label and pixels, by id
    for digit, strokes in STROKES.items():
        with page.expect_response(re.compile("preview=false")) as response:
            draw(page, strokes)
        expect(page.locator("#feedback")).to_be_visible()
        label = (digit + 1) % 10
        page.keyboard.press(str(label))
        expect(page.get_by_role("button", name=str(label), exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        answer = response.value.json()
        drawn[answer["id"]] = label, answer["image"]
        if len(drawn) > 1 and any(trains(each) for each in drawn):
            break  # a share of all drawings is for the live test set
        page.get_by_role("button", name="Clear").click()
    journal.write()

    start_review(page, address)
    for count in range(1, len(drawn) + 1):
        label = next(label for label, image in drawn.values() if shows(page, image))
        page.keyboard.press(str(label))
        expect(page.locator("#state")).to_contain_text(f"{count} labelled here")
    page.close()
    journal.write()

    said = python(root.parent, "-m", "pipeline", "collect")
    assert said.returncode == 0, said.stderr
    for path, trained in ((workspace.feedback, True), (workspace.live_set, False)):
        chosen = [drawn[each] for each in sorted(drawn) if trains(each) is trained]
        collected = load_file(path)
        assert collected["labels"].tolist() == [label for label, _ in chosen]
        assert collected["images"].tolist() == [image for _, image in chosen]
    learned = load_file(workspace.feedback)
    known = training_images(workspace.training_set, workspace.feedback)
    count = len(learned["labels"])
    assert count >= 1
    assert np.array_equal(known.images[:count], learned["images"])
    assert np.array_equal(known.labels[:count], learned["labels"])


def trains(identifier: str) -> bool:
    """Whether an image with this id is for training, if it is collected."""
    return share_of(identifier) >= load_params(PROJECT / "params.yaml").collect.live_share


def shows(page: Page, image: list[list[int]]) -> bool:
    """Whether a reviewer sees this image."""
    pixels = page.locator("#item").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]"
    )
    return bool(np.array_equal(np.reshape(pixels, (28, 28, 4))[..., 0], image))


def start_review(page: Page, address: str, token: str = REVIEW_TOKEN) -> None:
    """Give a name and a token on the page of reviewers."""
    page.goto(f"{address}review")
    page.get_by_label("Your name").fill("ann")
    page.get_by_label("Review token").fill(token)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).not_to_have_text(re.compile("^$|^Looking"))
