"""The page as people use it: in a real browser, by mouse, finger, keys and dropped files."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.digits import Images
from tests.test_service import Service, serving
from tests.workspace import needs_model

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    needs_model,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium: `make debian`"),
]
QUIET = ["--no-sandbox", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
REFUSED = "400 (Bad Request)"  # which the browser says by itself
Stroke = list[tuple[float, float]]


def arc(x: float, y: float, wide: float, high: float, start: int, end: int) -> Stroke:
    """Part of an ellipse around (x, y), from and to an angle, in degrees."""
    angles = np.radians(np.linspace(start, end, 13))
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


STROKES: dict[int, list[Stroke]] = {  # by hand, in a square of side 1
    0: [arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    1: [[(0.52, 0.15), (0.48, 0.85)]],
    2: [[*arc(0.5, 0.33, 0.2, 0.18, -160, 40), (0.3, 0.82), (0.72, 0.82)]],
    3: [arc(0.47, 0.33, 0.2, 0.17, -150, 90) + arc(0.47, 0.67, 0.22, 0.18, -90, 150)],
    4: [[(0.35, 0.15), (0.28, 0.55), (0.72, 0.52)], [(0.66, 0.2), (0.62, 0.85)]],
    5: [[(0.68, 0.18), (0.38, 0.18), (0.35, 0.45), *arc(0.46, 0.62, 0.22, 0.2, -110, 140)]],
    6: [[(0.6, 0.14), (0.42, 0.35), (0.33, 0.65), *arc(0.5, 0.68, 0.17, 0.17, 180, 530)]],
    7: [[(0.28, 0.2), (0.72, 0.2), (0.45, 0.85)]],
    8: [arc(0.5, 0.33, 0.15, 0.17, 90, 450) + arc(0.5, 0.68, 0.18, 0.18, -90, 270)],
    9: [[*arc(0.5, 0.35, 0.17, 0.18, 0, 360), (0.66, 0.6), (0.6, 0.86)]],
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("page") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The page, which must ask nobody else and find no fault with itself."""
    context = browser.new_context(viewport={"width": 1000, "height": 800}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    faults: list[str] = []
    ours = (f"http://{service.address}/", "blob:", "data:")

    def note(fault: str, *, is_one: bool) -> None:
        if is_one:
            faults.append(fault)

    page.on("pageerror", lambda error: note(str(error), is_one=True))
    page.on(
        "console",
        lambda line: note(line.text, is_one=line.type == "error" and REFUSED not in line.text),
    )
    page.on("request", lambda asked: note(asked.url, is_one=not asked.url.startswith(ours)))
    page.goto(f"http://{service.address}/")
    yield page
    context.close()
    assert faults == []


def draw(page: Page, strokes: list[Stroke]) -> None:
    """Move the mouse along strokes on the paper; wait for the answer to the last of them."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=3)
        page.mouse.up()
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")


@pytest.mark.parametrize("digit", STROKES)
def test_a_digit_drawn_by_mouse_is_read(page: Page, digit: int) -> None:
    draw(page, STROKES[digit])
    expect(page.locator("#verdict strong")).to_have_text(str(digit))
    shares = page.locator("#bars .share").all_inner_texts()
    assert len(shares) == 10
    assert max(range(10), key=lambda n: float(shares[n].removesuffix(" %"))) == digit
    widths = page.locator("#bars .bar span").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().width)"
    )
    assert max(range(10), key=widths.__getitem__) == digit
    seen = page.locator("#seen").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]"
    )
    pixels = np.reshape(seen, (28, 28, 4))
    assert pixels[..., 0].max() == 255
    assert not pixels[:3, :, :3].any()  # the rim that MNIST has


def test_clear_begins_anew(page: Page) -> None:
    draw(page, STROKES[7])
    expect(page.locator("#verdict strong")).to_have_text("7")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    draw(page, STROKES[1])
    expect(page.locator("#verdict strong")).to_have_text("1")


def test_a_finger_draws_and_does_not_scroll(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
              for x, y in STROKES[7][0]]  # fmt: skip
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, point in zip(kinds, points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#verdict strong")).to_have_text("7")
    assert page.evaluate("scrollY") == 0


def test_keys_alone_draw_clear_and_change_the_view(page: Page) -> None:
    page.locator("#canvas").focus()
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#verdict strong")).to_have_text("1")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    page.get_by_role("tab", name="Draw").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Model")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Draw")).to_be_hidden()


@pytest.mark.parametrize("way", ["chosen", "dropped"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_file_is_read(page: Page, tmp_path: Path, ten: Images, way: str, kind: str) -> None:
    path = tmp_path / f"four.{kind}"
    Image.fromarray(255 - np.pad(ten[4], ((5, 60), (40, 0)))).resize((340, 460)).save(path)
    if way == "chosen":
        page.locator("#file").set_input_files(path)
    else:
        transfer = page.evaluate_handle(
            "([bytes, name]) => { const transfer = new DataTransfer();"
            "transfer.items.add(new File([new Uint8Array(bytes)], name)); return transfer; }",
            [list(path.read_bytes()), path.name],
        )
        page.dispatch_event("#canvas", "drop", {"dataTransfer": transfer})
    expect(page.locator("#verdict strong")).to_have_text("4")


def test_a_file_that_is_no_picture_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    with page.expect_response("**/predict") as response:
        page.locator("#file").set_input_files(tmp_path / "notes.png")
    assert response.value.status == 400
    expect(page.locator("#verdict")).to_contain_text("it is no picture")


def test_the_second_view_shows_the_reports(page: Page) -> None:
    page.get_by_role("tab", name="Model").click()
    expect(page.locator("#metrics")).to_contain_text("test accuracy")
    for image in page.locator("#model img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_be_visible()
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())


@pytest.mark.parametrize("width", [1000, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_anyone_can_use_it(
    browser: Browser, service: Service, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    """axe-core finds nothing serious, nothing is wider than the screen; a picture for our eyes."""
    context = browser.new_context(viewport={"width": width, "height": 812}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"http://{service.address}/")
    draw(page, STROKES[3])
    expect(page.locator("#verdict strong")).to_have_text("3")
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    for view in ("draw", "model"):
        page.locator(f"#{view}-tab").click()
        found = Axe().run(page).response["violations"]
        assert [rule for rule in found if rule["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=shots / f"{view}-{scheme}-{width}.png", full_page=True)
    context.close()


def test_a_token_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path / "log", token="open sesame") as service:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://{service.address}/")
        draw(page, STROKES[1])
        page.get_by_label("This service wants a token").fill("open sesame")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#verdict strong")).to_have_text("1")
        context.close()


def test_the_documentation_needs_no_other_server(page: Page) -> None:
    page.goto(page.url + "docs")
    expect(page.locator(".swagger-ui .opblock-summary-path").first).to_be_visible()
