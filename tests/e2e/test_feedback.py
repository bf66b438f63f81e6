"""Labels in a real browser: on the page to draw on, and on the page of reviewers."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pipeline.journal.keeping import JournalSettings
from pipeline.journal.reading import entries, votes
from pipeline.service import journaling
from pipeline.service.journaling import Journal
from tests.e2e.test_page import STROKES, browser, draw, pytestmark  # noqa: F401
from tests.services import listening, make_app

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
    page.keyboard.press("3")
    expect(page.locator("#noted")).to_contain_text("3")
    page.get_by_role("button", name="The answer is right").click()
    expect(page.locator("#noted")).to_contain_text("7")
    expect(page.get_by_role("button", name="7", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
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
    page.goto(f"{address}review")
    page.get_by_label("Your name").fill("ann")
    page.get_by_label("Review token").fill("wrong")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("token")
    page.get_by_label("Review token").fill(REVIEW_TOKEN)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("2 in the queue")
    require_accessible(page)
    page.keyboard.press("5")
    expect(page.locator("#state")).to_contain_text("1 labelled here")
    page.keyboard.press("Backspace")
    expect(page.locator("#state")).to_contain_text("0 labelled here")
    page.keyboard.press("1")
    page.get_by_role("button", name="Not a digit").click()
    expect(page.locator("#state")).to_contain_text("No image waits")
    expect(page.locator("#state")).to_contain_text("2 labelled here")
    journal.write()
    labels = [vote.label for vote in votes(root) if vote.voter == "reviewer:ann"]
    assert sorted(labels) == ["1", "not a digit"]
